"""Pages of the documentation as stories: every command in them is run, and what it prints compared.

In a Markdown page, these blocks are steps, carried out one after the other in one shell:

    ```console            a line `$ command` is run (`> ` continues it); the lines below are what it prints,
                          on stdout or stderr, to the letter; `...` is anything. What shows nothing must
                          succeed and print nothing.
    `some/file`:          a paragraph that ends so, then a block: the block is written to that file
    ```diff               a change of files, as `git apply` takes it

Right before a block, an HTML comment `<!-- slurm -->` says that it is for a cluster, `<!-- not run: why -->`
why it is not run. A page starts in an empty home folder, which is shown as /home/me. Before they are
compared, the times of log lines, numbers of processes and jobs, the order of a batch's `[1/7]` lines, the
losses and accuracies of a training, and all digits after the third one behind a point are made the same.
"""

import doctest
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

_MARK = "~~~~ end of step"
_END = "end-of-the-block"  # of a here-document
_PROGRESS = re.compile(r"^\[\d+/(\d+\] .*)$", re.MULTILINE)
_CHECKER = doctest.OutputChecker()
_RULES = [
    (re.compile(r"\b([DIWEC])\d{4} \d\d:\d\d:\d\d "), r"\g<1>1231 23:59:59 "),
    (re.compile(r"\blocal:[^\s:]+:\d+"), "local:host:1"),
    (re.compile(r"\b(process|job) \d+"), r"\1 1"),
    # Slurm may have started it by then.
    (re.compile(r"\b(QUEUED \(\d[\d_]*\)(: PENDING.*)?|RUNNING \(\d[\d_]*\))"), "QUEUED (1)"),
    (re.compile(r"(\d\.\d{3})\d+(e-?\d+)?"), r"\1"),
    # A training's figures are those of the machine's arithmetic: its first digits may differ, too.
    (re.compile(r"\b(\w*(?:loss|norm|accuracy):? )\d+\.\d+"), r"\g<1>1.0"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
]


class Step(NamedTuple):
    """Something to do in a shell, where in the page it is, and what it is to print."""

    line: int
    script: str
    expected: str | None  # None: it is no command
    is_for_slurm: bool


class Block(NamedTuple):
    """A block of a page: its language, its text, and what is said right before it."""

    line: int
    language: str
    text: str
    before: str
    comment: str


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    for at, token in enumerate(tokens):
        if token.type == "fence" and token.map:
            comment = tokens[at - 1].content.strip() if tokens[at - 1].type == "html_block" else ""
            before = _paragraph(tokens, at - 2 if comment else at - 1)
            yield Block(token.map[0] + 1, token.info.strip(), token.content, before, comment)


def _paragraph(tokens: list[Token], at: int) -> str:
    return tokens[at - 1].content if at > 0 and tokens[at].type == "paragraph_close" else ""


def links(page: Path) -> list[str]:
    """Where the links of a page lead."""
    inline = [child for token in MarkdownIt().parse(page.read_text()) for child in token.children or ()]
    return [str(token.attrs["href"]) for token in inline if token.type == "link_open"]


def steps(page: Path) -> list[Step]:
    """What a page does, in its order."""
    return [
        step
        for block in blocks(page)
        if not block.comment.startswith("<!-- not run")
        for step in _steps(block)
    ]


def _steps(block: Block) -> Iterator[Step]:
    is_for_slurm = block.comment == "<!-- slurm -->"
    file = re.search(r"`([^`]+)`:$", block.before)
    if block.language == "console":
        for line, command, expected in _commands(block):
            yield Step(line, command, expected, is_for_slurm)
    elif block.language == "diff":
        yield Step(block.line, f"git apply - <<'{_END}'\n{block.text}{_END}", None, is_for_slurm)
    elif file:
        folder = f"mkdir -p \"$(dirname '{file[1]}')\""
        yield Step(
            block.line, f"{folder} && cat > '{file[1]}' <<'{_END}'\n{block.text}{_END}", None, is_for_slurm
        )


def _commands(block: Block) -> Iterator[tuple[int, str, str]]:
    """Line, command, what it prints."""
    found: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append((number, [line[2:]], []))
        elif not found:
            raise ValueError(f"line {number}: a console block begins with a command")
        elif line.startswith("> ") and not found[-1][2]:
            found[-1][1].append(line[2:])
        else:
            found[-1][2].append(line)
    for number, command, printed in found:
        yield number, "\n".join(command), "\n".join(printed)


# ---- Carried out --------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What came of a step."""

    step: Step
    status: int
    printed: str

    @property
    def fits(self) -> bool:
        """Whether it is as the page says; what shows nothing must succeed."""
        want, got = (f"{_same(text.rstrip())}\n" for text in (self.step.expected or "", self.printed))
        is_shown = bool(self.step.expected)
        return _CHECKER.check_output(want, got, doctest.ELLIPSIS) and (is_shown or self.status == 0)

    def __str__(self) -> str:
        told = f"-- the page says:\n{self.step.expected or ''}\n-- in truth (exit status {self.status}):\n"
        return f"line {self.step.line}: {self.step.script}\n{told}{self.printed}\n"


def carry_out(
    steps: list[Step], cwd: Path, env: Mapping[str, str], names: Mapping[str, str]
) -> list[Outcome]:
    """The outcomes of steps, in one shell, which may end before the last one.

    `names` are what is printed -> what a page has for it.
    """
    script = "\n".join(f"{step.script}\nprintf '\\n%s %s\\n' '{_MARK}' $?" for step in steps)
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}\n"],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=500,
    )
    shown = done.stdout
    for text, name in names.items():
        shown = shown.replace(text, name)
    parts = re.split(rf"\n{_MARK} (\d+)\n", shown)
    found = zip(steps, parts[1::2], parts[::2], strict=False)
    return [Outcome(step, int(status), printed.rstrip()) for step, status, printed in found]


def _same(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    progress = sorted(match[1] for match in _PROGRESS.finditer(text))
    return _PROGRESS.sub(lambda _: progress.pop(0), text)


def rewritten(page: Path, outcomes: list[Outcome]) -> str:
    """The text of a page, with what its commands print in truth where that is not what it says."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for step, _, printed in reversed([outcome for outcome in outcomes if not outcome.fits]):
        if step.expected is None:
            raise ValueError(f"{page}:{step.line}: {printed}")
        start = step.line + step.script.count("\n")
        lines[start : start + len(step.expected.splitlines())] = printed.splitlines()
    return "\n".join(lines) + "\n"
