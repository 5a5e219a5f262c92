from pathlib import Path

import pytest

from heyhi.workflow.aliases import Aliases


@pytest.mark.parametrize("name", ["/a/p/it/lr@1.0_2b05b5b0", "/a b/c", "/ü/x"])
def test_a_name_that_means_nothing_to_snakemake_stays(name: str) -> None:
    assert Aliases().of(Path(name)) == name


@pytest.mark.parametrize("name", ["{b}", "<x>", "a,b", "a\nb", "a ", "*", "~", "\x1b", "\udce9", "'"])
def test_any_other_is_a_link_of_the_same_name_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "odd" / name
    for _ in range(2):
        aliases = Aliases()
        alias = aliases.of(folder)
        assert alias.isascii()
        assert alias.startswith(".snakemake/heyhi/")
        aliases.make()
        (folder / "file").touch()
        assert Path(alias, "file").samefile(folder / "file")
    assert [path.name for path in Path(alias).parent.iterdir()] == [Path(alias).name]


def test_a_link_that_leads_elsewhere_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    aliases = Aliases()
    alias = Path(aliases.of(tmp_path / "{b}"))
    alias.parent.mkdir(parents=True)
    alias.symlink_to("/nowhere")
    aliases.make()
    assert alias.resolve() == tmp_path / "{b}"
