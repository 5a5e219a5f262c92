"""Every command of the documentation, run for real: tests/pages.py says how.

`python -m tests.test_docs docs/tutorial.md` writes into a page what its commands print in truth (those for
Slurm too, where SLURM_CONF names a test cluster); look at what has changed (`git diff`) before you keep it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import pages, reference
from tests.conftest import HERE
from tests.pages import Outcome

if TYPE_CHECKING:
    from tests.cluster import Cluster

DOCS = sorted((HERE / "docs").glob("*.md"))
PAGES = [HERE / "README.md", *DOCS]
NAMES = [page.stem for page in PAGES]
# Page, reason.
NOT_RUN = {("tutorial.md", "<!-- not run: .ci/run does it -->")}


def carry_out(page: Path, home: Path, *, on_slurm: bool = False, **more: str) -> list[Outcome]:
    """A page, as a user who has activated the environment carries it out, and nothing else set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HH_", "HEYHI", "SLURM", "MAKE"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**kept, "PATH": path, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **more}
    steps = [step for step in pages.steps(page) if on_slurm or not step.is_for_slurm]
    cwd = copy_of_repository(home / "heyhi") if page.parent == HERE else home
    return pages.carry_out(steps, cwd, env, {str(home): "/home/me"})


def copy_of_repository(folder: Path) -> Path:
    """What a clone has, and what was changed since: a page may write where it stands."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / name, folder / name, follow_symlinks=False)
    return folder


# ---- The pages ----------------------------------------------------------------------------------


def check(page: Path, outcomes: list[Outcome], steps: int) -> None:
    """Fail with the first thing that is not as a page says: it may be why others are not."""
    told = [f"{page}: {outcome}" for outcome in outcomes if not outcome.fits]
    if len(outcomes) < steps:
        told.append(f"{page}: the shell ended after {len(outcomes)} of {steps} steps")
    if told:
        pytest.fail(f"{told[0]}(and {len(told) - 1} more)", pytrace=False)


@pytest.mark.processes
@pytest.mark.pages
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    steps = [step for step in pages.steps(page) if not step.is_for_slurm]
    check(page, carry_out(page, tmp_path), len(steps))


@pytest.mark.slurm
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_a_page_does_what_it_says_where_there_is_slurm(
    page: Path, tmp_path: Path, cluster: "Cluster"
) -> None:
    steps = pages.steps(page)
    if any(step.is_for_slurm for step in steps):
        outcomes = carry_out(page, tmp_path, on_slurm=True, **cluster.environment())
        check(page, outcomes, len(steps))


def test_all_commands_of_the_pages_are_in_blocks_that_are_run() -> None:
    loose = [
        f"{page.name}:{block.line}"
        for page in PAGES
        for block in pages.blocks(page)
        if block.language != "console" and any(line.startswith("$ ") for line in block.text.splitlines())
    ]
    shown_only = [
        f"{page.name}:{block.line}"
        for page in DOCS
        for block in pages.blocks(page)
        if block.language in ("bash", "sh", "shell") and not block.before.endswith("`:")
    ]
    assert (loose, shown_only) == ([], [])


def test_what_is_not_run_is_known() -> None:
    left = {(page.name, block.comment) for page in PAGES for block in pages.blocks(page) if block.comment}
    assert {(name, comment) for name, comment in left if comment != "<!-- slurm -->"} == NOT_RUN


def test_the_tutorial_installs_what_the_tests_of_a_new_project_need() -> None:
    needs = (HERE / "heyhi/template/requirements.txt").read_text().splitlines()
    names = {re.split(r"\W", line)[0] for line in needs if not line.startswith("#")}
    install = re.search(r"pip install (.*)", (HERE / "docs/tutorial.md").read_text())
    assert install
    assert names == {word.removeprefix("./") for word in install[1].split()}


def test_a_page_that_makes_a_report_says_what_else_is_to_be_installed() -> None:
    makes = [page for page in DOCS if any("heyhi report" in step.script for step in pages.steps(page))]
    assert makes
    assert [page.name for page in makes if "pip install 'heyhi[report]'" not in page.read_text()] == []


def test_the_reference_is_that_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEYHI_PROJECT", str(HERE))
    assert reference.PAGE.read_text() == reference.page(), "make reference writes it anew"


def test_links_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in pages.links(page):
            file, _, heading = target.partition("#")
            path = page.parent / file if file else page
            if not path.exists() or (heading and heading not in headings(path)):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def headings(page: Path) -> list[str]:
    """As links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


# ---- How they are read --------------------------------------------------------------------------

CHANGE = "```diff\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n```\n"
# A page -> whether each of its steps is as it says.
STORIES = {
    "right output": ("```console\n$ echo a; echo b >&2\na\nb\n```\n", [True]),
    "wrong output": ("```console\n$ echo a\nb\n```\n", [False]),
    "output that is not shown": ("```console\n$ echo a\n$ echo b\nb\n```\n", [False, True]),
    "no output": ("```console\n$ true\na\n```\n", [False]),
    "anything": ("```console\n$ seq 9\n1\n...\n9\n$ echo a-b\na...b\n", [True, True]),
    "more than anything": ("```console\n$ seq 9\n1\n...\n8\n```\n", [False]),
    "a silent failure": ("```console\n$ false\n```\n", [False]),
    "a failure that is shown": ("```console\n$ ls nothing\nls: ...nothing...\n```\n", [True]),
    "one shell": ("```console\n$ x=1; cd /\n```\nso\n```console\n$ echo $x $PWD\n1 /\n```\n", [True, True]),
    "lines that go on": ("```console\n$ echo a \\\n>   b\na b\n```\n", [True]),
    "a file": ("`d/f`:\n```\n$x `y`\n```\n```console\n$ cat d/f\n$x `y`\n```\n", [True, True]),
    "no file": ("Of `d/f`.\n```\nx\n```\n```console\n$ cat d/f\nx\n```\n", [False]),
    "a change": (f"`f`:\n```\na\n```\n{CHANGE}```console\n$ cat f\nb\n```\n", [True, True, True]),
    "a change of nothing": (CHANGE, [False]),
    "the end of the shell": ("```console\n$ exit 0\n$ true\n```\n", []),
    "for a cluster": ("<!-- slurm -->\n```console\n$ false\n```\n", []),
    "not run": ("<!-- not run: why -->\n```console\n$ false\n```\n", []),
    "home": ("```console\n$ echo ~\n/home/me\n```\n", [True]),
    "times": ("```console\n$ echo 'I0102 03:04:05 [x] 0.12345'\nI1224 00:00:00 [x] 0.12399\n```\n", [True]),
    "other numbers": ("```console\n$ echo 'step 3, 0.122'\nstep 4, 0.122\n```\n", [False]),
    "a training": ("```console\n$ echo 'x, val_loss 1.47, lr 0.1'\nx, val_loss 1.46, lr 0.1\n```\n", [True]),
    "of other parameters": ("```console\n$ echo 'loss: 1.5, lr 0.1'\nloss: 1.5, lr 0.2\n```\n", [False]),
    "jobs": ("```console\n$ echo 'local:pc:12 job 5'\nlocal:other:34 job 6\n```\n", [True]),
    "jobs of Slurm": ("```console\n$ echo 'QUEUED (5_1): x'\nQUEUED (62): x\n```\n", [True]),
    "started already": ("```console\n$ echo 'RUNNING (5)'\nQUEUED (62): PENDING: None\n```\n", [True]),
    "other states": ("```console\n$ echo 'DONE (5)'\nRUNNING (5)\n```\n", [False]),
    "order of runs": ("```console\n$ printf '[1/2] b\\n[2/2] a\\n'\n[1/2] a\n[2/2] b\n```\n", [True]),
    "other runs": ("```console\n$ printf '[1/2] b\\n[2/2] b\\n'\n[1/2] a\n[2/2] b\n```\n", [False]),
}  # fmt: skip


@pytest.mark.processes
@pytest.mark.parametrize(("text", "expected"), STORIES.values(), ids=STORIES)
def test_a_page_is_a_story(text: str, expected: list[bool], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    (tmp_path / "home").mkdir()
    assert [outcome.fits for outcome in carry_out(page, tmp_path / "home")] == expected


@pytest.mark.processes
def test_a_page_is_rewritten_where_it_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\n```console\n$ echo a \\\n> b\nc\nd\n$ seq 2\n1\n...\n$ echo\n```\n\nEnd.\n")
    (tmp_path / "home").mkdir()
    text = pages.rewritten(page, carry_out(page, tmp_path / "home"))
    assert text == "# A\n\n```console\n$ echo a \\\n> b\na b\n$ seq 2\n1\n...\n$ echo\n```\n\nEnd.\n"


def main(words: list[str]) -> None:
    """Rewrite pages."""
    for page in map(Path, words):
        with tempfile.TemporaryDirectory() as home:
            slurm = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
            outcomes = carry_out(page.absolute(), Path(home), on_slurm=bool(slurm), **slurm)
            page.write_text(pages.rewritten(page, outcomes))


if __name__ == "__main__":
    main(sys.argv[1:])
