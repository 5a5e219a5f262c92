import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from heyhi import files
from heyhi.files import kind_of, write_new, write_out, write_whole

# ---- Reading ------------------------------------------------------------------------------------


def _nothing(path: Path) -> None: ...


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


MAKERS: dict[str, Callable[[Path], object]] = {
    "": _nothing,
    "file": lambda path: path.write_text("text"),
    "a folder": Path.mkdir,
    "a fifo": os.mkfifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_kind_of_whatever_has_a_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    MAKERS[kind](path)
    assert kind_of(path) == kind


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "file"])
def test_only_a_regular_file_is_read_and_nothing_is_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    MAKERS[kind](path)
    with pytest.raises(OSError, match=r".") as caught:
        files.read(path)
    if isinstance(caught.value, files.NotAFileError):
        assert caught.value.strerror == f"is {kind}"
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind not in ("", "file")])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_APPEND])
def test_only_the_file_itself_is_opened_and_nothing_is_waited_for(
    tmp_path: Path, kind: str, flags: int
) -> None:
    path = tmp_path / "it"
    MAKERS[kind](path)
    told = "a link" if path.is_symlink() else kind
    with pytest.raises(files.NotAFileError, match=f"is {told}"):
        files.open_itself(path, flags)


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind not in ("", "file")])
def test_what_a_user_names_is_read_if_it_is_a_file_or_an_open_pipe(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    MAKERS[kind](path)
    with pytest.raises(OSError, match=r"."):
        files.read_typed(path)
    (tmp_path / "file").write_text("text")
    assert files.read_typed(tmp_path / "file") == b"text"
    reader, writer = os.pipe()
    os.write(writer, b"text")
    os.close(writer)
    assert files.read_typed(f"/dev/fd/{reader}") == b"text"
    os.close(reader)


def test_an_error_of_a_write_names_the_file_that_the_user_knows(
    tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    disk, old = small_disk(64), tmp_path / "old"
    old.write_bytes(b"x" * 100_000)
    writes: tuple[Callable[[Path], object], ...] = (
        lambda path: write_whole(path, old.read_bytes()),
        lambda path: write_new(path, old.read_bytes()),
        lambda path: write_out(path, old.read_bytes()),
        lambda path: files.copy_whole(old, path),
    )
    for number, options in ((errno.ENOSPC, "remount,rw"), (errno.EROFS, "remount,ro")):
        subprocess.run(["mount", "-o", options, str(disk)], check=True)
        for write in writes:
            with pytest.raises(OSError, match=r".") as caught:
                write(disk / "it")
            assert (caught.value.errno, str(caught.value.filename)) == (number, str(disk / "it"))
            assert os.listdir(disk) == []


OBJECTS = {
    '{"a": [1]}': {"a": [1]},
    "{}": {},
    "[1]": {},
    '"a"': {},
    "{": {},
    "": {},
    '{"a":' * 300 + "1" + "}" * 300: {},
}


@pytest.mark.parametrize("text", OBJECTS, ids=range(len(OBJECTS)))
def test_an_object_is_read_or_none_of_its_members(tmp_path: Path, text: str) -> None:
    (tmp_path / "it").write_text(text, errors="surrogateescape")
    assert files.read_object(tmp_path / "it") == OBJECTS[text]
    assert files.read_object(tmp_path / "other") == {}


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("ü")
    (tmp_path / "link").symlink_to("it")
    assert files.read_text(tmp_path / "link") == "ü"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "it"
    with path.open("wb") as file:
        file.truncate(2_000_001)  # a sparse one takes no room
    assert len(files.read(path)) == 2_000_001
    monkeypatch.setenv("HEYHI_MAX_FILE_MB", "2")
    with pytest.raises(files.TooLargeError, match=r"larger than 2 MB; HEYHI_MAX_FILE_MB=\.\.\. allows more"):
        files.read(path)


def test_a_file_of_proc_is_read_though_it_has_no_size() -> None:
    assert b"MemTotal" in files.read("/proc/meminfo")


# ---- Writing ------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    write_whole(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800 is no text")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["it.json"]


def test_what_a_user_names_is_never_replaced_by_another_kind_of_file(tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    link.symlink_to(file)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_out(pipe, "told")
    assert os.read(reader, 100) == b"told"
    os.close(reader)
    for text in ("first", "second"):
        write_out(link, text)
        assert file.read_text() == text
    assert (pipe.is_fifo(), link.is_symlink()) == (True, True)
    with pytest.raises(IsADirectoryError):
        write_out(tmp_path, "told")
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "pipe"]


@pytest.mark.processes
def test_no_reader_ever_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "it"
    code = (
        "import sys; from pathlib import Path; from heyhi.files import write_whole\n"
        "for n in range(300): write_whole(Path(sys.argv[1]), str(n % 10) * 100_000)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    reads = 0
    while writer.poll() is None:
        if path.exists():
            text = path.read_text()
            assert len(text) == 100_000
            assert len(set(text)) == 1
            reads += 1
    assert writer.returncode == 0
    assert reads > 10


def test_a_new_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "it"
    assert write_new(path, "first")
    assert not write_new(path, "second")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["it"]


def test_a_new_file_is_written_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    test_a_new_file_is_written_once(tmp_path)


def test_threads_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    path, texts = tmp_path / "it", {str(digit) * 100_000 for digit in range(8)}

    def write(text: str) -> None:
        for _ in range(20):
            write_whole(path, text)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["it"]


def test_a_file_of_ones_own_is_private_from_the_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "it"
    write_whole(path, "secret", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_written_is_put_on_the_disk(tmp_path: Path) -> None:
    """That it is there after a power cut cannot be tried here: only that the calls are good ones."""
    write_whole(tmp_path / "it", "text", sync=True)
    files.sync_folder(tmp_path)
    files.sync_all(tmp_path)
    with pytest.raises(NotADirectoryError):
        files.sync_all(tmp_path / "it")


def test_a_file_is_there_or_not_or_it_cannot_be_seen(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    found = {
        name: files.is_there(tmp_path / name) for name in ("file", "folder", "loop", "nothing", "file/x")
    }
    assert found == {"file": True, "folder": False, "loop": False, "nothing": False, "file/x": False}
    with pytest.raises(OSError, match="too long"):
        files.is_there(tmp_path / ("x" * 300))
