import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pexpect
import pytest

from heyhi.cli.shells import SHELLS, with_line
from tests.conftest import Done, Garden

BIN = Path(sys.prefix, "bin")

# How each shell starts without the user's settings.
_BARE = {
    "bash": ["--norc", "--noprofile"],
    "zsh": ["-f"],
    "fish": ["--no-config"],
}
# How it shows the line that is being typed.
_SHOW = {
    "bash": r"""PS1='ready> '; bind 'set bell-style none'; bind 'set show-all-if-ambiguous on'
bind -x '"\C-x\C-p": printf "\nLINE[%s]\n" "$READLINE_LINE"'""",
    "zsh": r"""PS1='ready> '; setopt no_beep
show() { print -r -- $'\n'"LINE[$BUFFER]" }; zle -N show; bindkey '^X^P' show""",
    "fish": r"""function fish_prompt; echo 'ready> '; end; function fish_greeting; end
bind \cx\cp 'printf "\nLINE[%s]\n" (commandline | string collect); commandline -r ""'""",
}
# Completions that were there before: of python, and in bash such as are loaded when they are needed.
_BEFORE = {
    "bash": """_spam() { COMPREPLY=(spam); }; complete -F _spam python
_load() { complete -F _spam "$1"; return 124; }; complete -D -F _load""",
    "zsh": """autoload -Uz compinit; compinit -u -D; _spam() { compadd spam }; compdef _spam python uv""",
    "fish": """complete -c python -f -a spam; complete -c uv -f -a spam""",
}
LEFT = "\x1b[D"
_LINE = re.compile(r"LINE\[(.*?)\]\r?\n", re.DOTALL)


class Terminal:
    """A shell in a terminal: press TAB, and see what the line became."""

    def __init__(
        self, name: str, cwd: Path, environment: Mapping[str, str], flags: Sequence[str], set_up: str
    ) -> None:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"no {name} here")
        kept = {key: value for key, value in environment.items() if key != "PYTHONDONTWRITEBYTECODE"}
        self.name = name
        self.child = pexpect.spawn(
            path,
            [*flags, "-i"],
            cwd=str(cwd),
            env={**kept, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "xterm", "LC_ALL": "C.UTF-8"},
            dimensions=(60, 300),
            encoding="utf-8",
            timeout=20,
        )
        self.child.delaybeforesend = None
        for line in [*set_up.splitlines(), *_SHOW[name].splitlines(), "echo set-''up"]:
            self.child.sendline(line)
        self.child.expect("set-up\r\n")

    def press_tab(self, typed: str, behind: str = "") -> tuple[str, str]:
        """What the line became, and what was shown meanwhile; `behind` is what stands behind the cursor."""
        self.child.send(f"{typed}{behind}{LEFT * len(behind)}\t\x18\x10")
        self.child.expect(_LINE)
        match = self.child.match
        assert isinstance(match, re.Match)
        self.child.send("\x05\x15")  # to its end, and cut
        return str(match[1]), str(self.child.before)

    def end(self) -> None:
        self.child.close(force=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, garden_template: Path) -> Garden:
    """A project with runs, a batch, and names that shells take for something else."""
    root = tmp_path_factory.mktemp("shells") / "garden"
    shutil.copytree(garden_template, root)
    garden = Garden(root, root.parent / "home")
    for name in ("conf/my beds/it's.prototxt", "conf/my beds/b {1}.prototxt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("grow { }")
    for name in ("other.py", "sweep.sh"):
        (root / name).touch()
    for name in ("seed@1@tags.0@a=b_00000001", "seed@2_00000002"):
        folder = garden.exp / "p/beds/carrot" / name
        folder.mkdir(parents=True)
        (folder / "heyhi.json").write_text("{}")
    (root / ".venv").symlink_to(sys.prefix)
    (garden.home / "garden").symlink_to(root)
    return garden


@pytest.fixture(scope="module", params=list(SHELLS))
def terminal(processes: None, request: pytest.FixtureRequest, place: Garden) -> Iterator[Terminal]:
    name = request.param
    set_up = f"{_BEFORE[name]}\nsource '{SHELLS[name].script}'"
    terminal = Terminal(name, place.root, place.environment(), _BARE[name], set_up)
    yield terminal
    terminal.end()


RUN = "python run.py -c conf/beds/carrot "

BECOMES = {
    "python run.py --cf": "python run.py --cfg ",
    "python run.py -c conf/be": "python run.py -c conf/beds/",
    "python run.py -c conf/beds/": "python run.py -c conf/beds/carrot.prototxt ",
    "python run.py --cfg=conf/be": "python run.py --cfg=conf/beds/",
    f"{RUN}--mode=g": f"{RUN}--mode=gentle_start ",
    f"{RUN}--sea": f"{RUN}--season=",
    f"{RUN}season=A": f"{RUN}season=AUTUMN ",
    f"{RUN}so": f"{RUN}soil.",
    f"{RUN}soil.": f"{RUN}soil.depth=",
    f"{RUN}launcher.local=S": f"{RUN}launcher.local=SELECT ",
    f"{RUN}tags.": f"{RUN}tags.-1=",
    f"{RUN}I.soil=d": f"{RUN}I.soil=deep ",
    f"{RUN}--explain sea": f"{RUN}--explain season ",
    "heyhi vali": "heyhi validate ",
    "heyhi pp conf/beds/carrot sea": "heyhi pp conf/beds/carrot season=",
    "heyhi kill p/beds/carrot/seed@2": "heyhi kill p/beds/carrot/seed@2_00000002 ",
    "heyhi kill seed@1@tags.0@a=": "heyhi kill seed@1@tags.0@a=b_00000001 ",
    # The ways to call run.py.
    "cd . && X=1 python -u run.py --cf": "cd . && X=1 python -u run.py --cfg ",
    ".venv/bin/python ./run.py --cf": ".venv/bin/python ./run.py --cfg ",
    "python3 ~/garden/run.py --cf": "python3 ~/garden/run.py --cfg ",
    "~/garden/.venv/bin/python run.py --cf": "~/garden/.venv/bin/python run.py --cfg ",
    "./run.py --cf": "./run.py --cfg ",
    "uv run run.py --cf": "uv run run.py --cfg ",
    "uv run python run.py --cf": "uv run python run.py --cfg ",
    # Names that a shell must not take for something else.
    "python run.py -c conf/my": r"python run.py -c conf/my\ beds/",
    r"python run.py -c conf/my\ beds/i": r"python run.py -c conf/my\ beds/it\'s.prototxt ",
    "python run.py -c ~/garden/conf/be": "python run.py -c ~/garden/conf/beds/",
    f"{RUN}note=~/gar": f"{RUN}note=~/garden/",
    # Other lines are completed as ever.
    "python other.py sp": "python other.py spam ",
    "python other.py run.py sp": "python other.py run.py spam ",
    "uv sp": "uv spam ",
    # Nothing fits: nothing is done.
    f"{RUN}season=X": f"{RUN}season=X",
    "python run.py -c nosuch swe": "python run.py -c nosuch swe",
}


@pytest.mark.processes
@pytest.mark.parametrize(("typed", "line"), BECOMES.items(), ids=BECOMES)
def test_a_key_press_completes(terminal: Terminal, typed: str, line: str) -> None:
    assert terminal.press_tab(typed)[0] == line


def test_what_completed_python_before_adds_nothing_but_in_fish(terminal: Terminal) -> None:
    line, _ = terminal.press_tab(f"{RUN}sp")
    assert line == (f"{RUN}spam " if terminal.name == "fish" else f"{RUN}sp")


# An open quote is closed by bash, with no space behind it.
IN_QUOTES = {
    "python run.py -c 'conf/my beds/b": "python run.py -c 'conf/my beds/b {1}.prototxt'",
    'python run.py -c "conf/my beds/i': 'python run.py -c "conf/my beds/it\'s.prototxt"',
}


@pytest.mark.parametrize(("typed", "line"), IN_QUOTES.items(), ids=IN_QUOTES)
def test_in_open_quotes(terminal: Terminal, typed: str, line: str) -> None:
    assert terminal.press_tab(typed)[0].rstrip(" ") == line


def test_what_is_left_open_is_shown_with_what_it_is(terminal: Terminal) -> None:
    line, shown = terminal.press_tab(f"{RUN}se")
    assert line == f"{RUN}se"
    assert all(name in shown for name in ("seed=", "seconds=", "season="))
    assert "note=" not in shown
    assert ("int32" in shown) == (terminal.name != "bash")


# What is the shell's own, with nothing else that completes `python`.
PLAIN = {
    "python3 oth": "python3 other.py ",
    f"{RUN}> oth": f"{RUN}> other.py ",
    f"{RUN}2>oth": f"{RUN}2>other.py ",
    "python run.py -c $HOME/garden/conf/be": "python run.py -c $HOME/garden/conf/beds/",
}


@pytest.mark.processes
@pytest.mark.parametrize("name", SHELLS)
def test_a_plain_python_still_completes_files(place: Garden, name: str) -> None:
    set_up = f"source '{SHELLS[name].script}'"
    terminal = Terminal(name, place.root, place.environment(), _BARE[name], set_up)
    assert {typed: terminal.press_tab(typed)[0] for typed in PLAIN} == PLAIN
    terminal.end()


@pytest.mark.parametrize("typed", ["nowhere/heyhi pla", "nowhere/python run.py --cf"])
def test_of_a_command_that_is_not_there_nothing_is_said(terminal: Terminal, typed: str) -> None:
    _, shown = terminal.press_tab(typed)
    assert not re.search("command|No such|not found", shown)


@pytest.mark.processes
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_shell_that_ends_at_errors_and_unset_variables_lives_on(place: Garden, name: str) -> None:
    set_up = f"source '{SHELLS[name].script}'\nset -eu"
    terminal = Terminal(name, place.root, place.environment(), _BARE[name], set_up)
    for typed in ("python3 oth", f"{RUN}sea", f"{RUN}season=X", "heyhi nosuch "):
        line, shown = terminal.press_tab(typed)
        assert "unbound" not in shown
        assert line == {"python3 oth": "python3 other.py ", f"{RUN}sea": f"{RUN}season="}.get(typed, typed)
    terminal.end()


# As bash-completion hands a line on: with the words as they are cut, quotes and `=` too.
_NOHUP = """_nohup() { COMP_LINE=${COMP_LINE#nohup}; ((COMP_POINT -= 5)); COMP_WORDS=("${COMP_WORDS[@]:1}")
((COMP_CWORD -= 1)); _heyhi python "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"; }; complete -F _nohup nohup"""
BEHIND_NOHUP = {
    f"{RUN}sea": f"{RUN}season=",
    f"{RUN}season=": f"{RUN}season=",
    f"{RUN}season=A": f"{RUN}season=AUTUMN ",
    f"{RUN}I.soil=": f"{RUN}I.soil=deep ",
    f"{RUN}'season=A": f"{RUN}'season=AUTUMN'",
    "python run.py -c 'conf/my beds/b": "python run.py -c 'conf/my beds/b {1}.prototxt'",
}


@pytest.mark.processes
def test_in_bash_also_behind_other_commands(place: Garden) -> None:
    set_up = f"source '{SHELLS['bash'].script}'\n{_NOHUP}"
    terminal = Terminal("bash", place.root, place.environment(), _BARE["bash"], set_up)
    became = {typed: terminal.press_tab(f"nohup {typed}")[0] for typed in BEHIND_NOHUP}
    assert became == {typed: f"nohup {line}" for typed, line in BEHIND_NOHUP.items()}
    for typed in (f"{RUN}sea", f"{RUN}season="):
        assert terminal.press_tab(f"nohup {typed}", " lr=0.2")[0] == f"nohup {BEHIND_NOHUP[typed]} lr=0.2"
    terminal.end()


# ---- What a key press may start -----------------------------------------------------------------


class Checkout:
    """A project that somebody else has made: each of its programs leaves a word when it is started."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.root, self.started = folder / "checkout", folder / "started"
        self.root.mkdir(parents=True)
        shutil.copytree(template / "conf", self.root / "conf")
        (self.root / "run.py").touch()
        for name in (
            ".venv/bin/python",
            ".venv/bin/heyhi",
            "python",
            "python3",
            "heyhi",
            "bin/python",
            "bin/heyhi",
        ):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(f"#!/bin/sh\necho {name} >>'{self.started}'\nexit 1\n")
            (self.root / name).chmod(0o755)
        # By Python's own settings, too: they lie where the interpreter is called to lie.
        (self.root / "linked/bin").mkdir(parents=True)
        (self.root / "linked/bin/python").symlink_to(sys.executable)
        (self.root / "linked2").mkdir()
        (self.root / "linked2/bin").symlink_to(BIN)
        for name in ("linked", "linked2"):
            site = self.root / name / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
            site.mkdir(parents=True)
            (site / "x.pth").write_text(f"import os; open({str(self.started)!r}, 'a').write('{name}')\n")
            (self.root / name / "pyvenv.cfg").write_text(f"home = {BIN}\n")

    def takes(self) -> list[str]:
        """What was started since the last call."""
        words = self.started.read_text().split() if self.started.exists() else []
        self.started.unlink(missing_ok=True)
        return sorted(set(words))


@pytest.fixture
def checkout(processes: None, tmp_path: Path, garden_template: Path) -> Checkout:
    return Checkout(tmp_path / "a b", garden_template)


def terminal_in(checkout: Checkout, name: str, home: Path, **more: str) -> Terminal:
    home.mkdir(exist_ok=True)
    environment = {**Garden(checkout.root, home).environment(), **more}
    return Terminal(name, checkout.root, environment, _BARE[name], f"source '{SHELLS[name].script}'")


UNTRUSTED = [
    "./run.py --cf",
    "uv run run.py --cf",
    "uv run python ./run.py --cf",
    ".venv/bin/python run.py --cf",
    "./.venv/bin/python run.py --cf",
    "./python run.py --cf",
    "bin/python run.py --cf",
    "linked/bin/python run.py --cf",
    "linked2/bin/python run.py --cf",
    "~/checkout/.venv/bin/python run.py --cf",
    "./heyhi vali",
    ".venv/bin/heyhi vali",
    "bin/heyhi vali",
    "python run.py --cf",
    "heyhi vali",
]


@pytest.mark.parametrize("name", SHELLS)
def test_a_key_press_starts_nothing_of_a_checkout(checkout: Checkout, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "checkout").symlink_to(checkout.root)
    # Whoever has these has no program of a folder that one goes to, either.
    path = f":.:bin:{BIN}:{os.environ['PATH']}:.venv/bin:"
    terminal = terminal_in(checkout, name, home, VIRTUAL_ENV=".venv")
    terminal.child.sendline("set -gx PATH . bin $PATH .venv/bin" if name == "fish" else f"PATH='{path}'")
    became = {typed: terminal.press_tab(typed)[0] for typed in UNTRUSTED}
    terminal.end()
    assert checkout.takes() == []
    # The ones on the PATH answer in their place; linked2/bin is such a folder by another name.
    complete = {"./run.py", "uv", "python", "heyhi", "linked2/bin/python"}
    ours = {typed for typed, line in became.items() if line.endswith(("--cfg ", "validate "))}
    assert ours == {typed for typed in UNTRUSTED if typed.split()[0] in complete}


TRUSTED = {
    "./run.py --cf": [".venv/bin/python"],
    "uv run run.py --cf": [".venv/bin/python"],
    ".venv/bin/python run.py --cf": [".venv/bin/python"],
    "~/checkout/.venv/bin/python run.py --cf": [".venv/bin/python"],
    ".venv/bin/heyhi vali": [".venv/bin/heyhi"],
    "bin/heyhi vali": ["bin/heyhi"],
    "./heyhi vali": [],
    "./python run.py --cf": [],
}


@pytest.mark.parametrize("name", SHELLS)
def test_a_key_press_starts_what_is_trusted(checkout: Checkout, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "checkout").symlink_to(checkout.root)
    garden = Garden(checkout.root, home)
    terminal = terminal_in(checkout, name, home)
    trust = ("-P", "-m", "heyhi.commands", "completion")
    assert garden.python(*trust, "--trust", ".").status == 0
    started = {}
    for typed in TRUSTED:
        terminal.press_tab(typed)
        started[typed] = checkout.takes()
    assert started == TRUSTED
    assert garden.python(*trust, "--distrust", str(home / "checkout")).status == 0
    for typed in TRUSTED:
        terminal.press_tab(typed)
    terminal.end()
    assert checkout.takes() == []


@pytest.mark.parametrize("name", SHELLS)
def test_a_key_press_starts_the_active_environment(checkout: Checkout, tmp_path: Path, name: str) -> None:
    terminal = terminal_in(checkout, name, tmp_path / "home", VIRTUAL_ENV=str(checkout.root / ".venv"))
    for typed in ("./run.py --cf", ".venv/bin/python run.py --cf"):
        terminal.press_tab(typed)
        assert checkout.takes() == [".venv/bin/python"]
    terminal.end()


def test_what_is_trusted_is_the_users_own_file(garden: Garden) -> None:
    def told(*words: str) -> Done:
        return garden.python("-m", "heyhi.commands", "completion", *words, env={"XDG_CONFIG_HOME": ""})

    file = garden.home / ".config/heyhi/trusted"
    done = told("--trust", str(garden.root))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{garden.root}: a key press may start {garden.root}/.venv/bin/python and ")
    told("--trust", ".")
    assert file.read_text() == f"{garden.root}\n", "each once"
    assert file.stat().st_mode & 0o777 == 0o600
    done = told("--trust", "nowhere")
    assert done == Done(2, "", "error: --trust 'nowhere': no such folder\n")
    assert told("--distrust", str(garden.home)).status == 2
    assert told("--distrust", str(garden.root)).status == 0
    assert file.read_text() == ""
    elsewhere = garden.home / "xdg"
    garden.python(
        "-m", "heyhi.commands", "completion", "--trust", ".", env={"XDG_CONFIG_HOME": str(elsewhere)}
    )
    assert (elsewhere / "heyhi/trusted").read_text() == f"{garden.root}\n"


# ---- The start-up file --------------------------------------------------------------------------

_FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}


def install(garden: Garden, *words: str, shell: str) -> Done:
    command = ("-m", "heyhi.commands", "completion", "--install", *words)
    return garden.python(*command, env={"SHELL": f"/usr/bin/{shell}"})


@pytest.mark.processes
@pytest.mark.parametrize("name", SHELLS)
def test_one_command_has_the_next_shell_complete(place: Garden, tmp_path: Path, name: str) -> None:
    garden = Garden(place.root, tmp_path)
    file = tmp_path / _FILES[name]
    done = install(garden, shell=name)
    assert done == Done(0, f"{file}: one line added; a {name} that starts now completes\n", "")
    terminal = Terminal(name, garden.root, garden.environment(), [], "")
    # Of fish's own, -c is Python's.
    assert terminal.press_tab("python run.py -c conf/be")[0] == "python run.py -c conf/beds/"
    assert terminal.press_tab(f"{RUN}sea")[0] == f"{RUN}season="
    terminal.end()


def test_it_changes_nothing_else_of_the_start_up_file(garden: Garden) -> None:
    real = garden.home / "dotfiles"
    real.write_text("alias a=b\n# the end")
    real.chmod(0o600)
    (garden.home / ".bashrc").symlink_to(real)
    assert install(garden, shell="bash").out.startswith(f"{real}: one line added")
    once = real.read_text()
    assert once == f"alias a=b\n# the end\n{SHELLS['bash'].line}\n"
    assert install(garden, "bash", shell="zsh").out.startswith(f"{real}: nothing to do")
    assert real.read_text() == once
    assert real.stat().st_mode & 0o777 == 0o600
    assert (garden.home / ".bashrc").is_symlink()


def test_of_several_lines_one_stays() -> None:
    line = SHELLS["bash"].line
    other = line.replace("heyhi/", "elsewhere/")
    assert with_line(f"a\n{other}\nb\n{line}\n", line) == f"a\n{line}\nb\n"


def test_an_unknown_shell_is_one_line(garden: Garden) -> None:
    known = "not one of bash, zsh, fish"
    assert install(garden, shell="dash") == Done(
        2, "", f"error: SHELL=dash: {known}; name one: heyhi completion --install bash\n"
    )
    assert install(garden, "dash", shell="bash").err.startswith("error: no such shell 'dash'")


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_can_be_printed(garden: Garden, name: str) -> None:
    done = garden.python("-m", "heyhi.commands", "completion", name)
    assert done == Done(0, SHELLS[name].script.read_text(), "")
