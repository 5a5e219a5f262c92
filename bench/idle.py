"""A project whose task does nothing, in a temporary folder: what it costs is what launching costs."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CONFIG = "conf/rest.prototxt"


def environment(experiment_root: Path, *programs: str, **more: str) -> dict[str, str]:
    """What a measured process sees; `programs` are folders first on its PATH. Bytecode is cached, as it is
    for users."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join([*programs, str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "HH_EXP_DIR": str(experiment_root), **more}


class Idle:
    """The project, and an experiment root of its own."""

    def __init__(self, folder: Path, *programs: str, **more: str) -> None:
        self._environment = environment(folder / "results", *programs, **more)
        self.root = folder / "project"
        self.results = folder / "results"
        shutil.copytree(HERE / "project", self.root)
        shutil.copy(ROOT / "Snakefile", self.root)
        shutil.copytree(ROOT / "profiles", self.root / "profiles")
        (self.root / "empty.smk").write_text("rule all:\n    input: []\n")
        self.call(sys.executable, "-m", "heyhi.commands", "protos")

    def call(self, *words: str) -> str:
        """Run a program in the project to its end; what it prints."""
        done = subprocess.run(
            words, cwd=self.root, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def script(self, runs: int) -> Path:
        """A batch of that many runs."""
        path = self.root / f"batch_{runs}.sh"
        path.write_text(f"for seed in $(seq {runs}); do python run.py -c {CONFIG} seed=$seed; done\n")
        return path

    def finish(self, script: Path, number: int) -> None:
        """Leave the first runs of a batch as if they were done."""
        plan = self.call(sys.executable, "-m", "heyhi.commands", "plan", str(script), "--json")
        for line in plan.splitlines()[:number]:
            folder = Path(json.loads(line)["folder"])
            folder.mkdir(parents=True)
            (folder / "heyhi.jobid").write_text("local:elsewhere:1")
            (folder / "result.json").write_text("null")

    def plan(self, script: Path) -> None:
        """`heyhi plan`."""
        self.call(sys.executable, "-m", "heyhi.commands", "plan", str(script))

    def snakemake(self, script: Path, *words: str, profile: str = "local") -> None:
        """Snakemake on a batch."""
        command = self._snakemake("Snakefile", *words, profile=profile)
        self.call(*command, "--config", f"batch={script}")

    def empty_workflow(self, *words: str) -> None:
        """Snakemake on a workflow of nothing, under the same profile."""
        self.call(*self._snakemake("empty.smk", *words))

    def _snakemake(self, snakefile: str, *words: str, profile: str = "local") -> list[str]:
        program = [sys.executable, "-m", "snakemake", "--snakefile", snakefile]
        return [*program, "--profile", f"profiles/{profile}", *words]

    def xargs(self, runs: int) -> None:
        """The same run.py calls, two at once, without any batch."""
        lines = f"seq {runs} | xargs -P2 -I@ {shlex.quote(sys.executable)} run.py -c {CONFIG} seed=@"
        self.call("bash", "-c", lines)

    def one_by_one(self, script: Path) -> None:
        """The original's way: the script itself."""
        self.call("bash", str(script))
