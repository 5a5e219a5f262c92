import base64
from pathlib import Path

import pytest

from heyhi.errors import ProjectError
from heyhi.project import Project
from heyhi.runs.secret_names import Secrets

SECRET = """
HF_TOKEN AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID AWS_SESSION_TOKEN DB_PASSWORD PGPASSWORD MYSQL_PWD SSHPASS
DB_PASS
WANDB_API_KEY OPENAI_APIKEY GITHUB_PAT GITHUBTOKEN SENTRY_DSN DATABASE_URL NPM_AUTH HTTP_AUTHORIZATION SECRET
GOOGLE_APPLICATION_CREDENTIALS PRIVATE_KEY SLACK_WEBHOOK_URL AZURE_STORAGE_CONNECTION_STRING SESSION_COOKIE
apiKey dbPassword hf_token API_KEY_2 API_KEY2 KEY JWT ENCRYPTION_KEYS REGISTRY_AUTH MYSECRET API_TOKENS
"""

NO_SECRET = """
TOKENIZERS_PARALLELISM KEYBOARD AUTHOR GIT_AUTHOR_NAME MONKEY TURKEY PATH PWD OLDPWD HOME LANG OMP_NUM_THREADS
CUDA_VISIBLE_DEVICES COMPASS BYPASS SSH_AUTH_SOCK XAUTHORITY PYTHONPATH PASSES KEYRING PATTERN PIN_MEMORY
"""


@pytest.mark.parametrize("name", SECRET.split())
def test_names_that_are_secret(name: str) -> None:
    assert Secrets().is_secret(name, "some value")


@pytest.mark.parametrize("name", NO_SECRET.split())
def test_names_that_are_not(name: str) -> None:
    assert not Secrets().is_secret(name, "some value")


def test_a_value_that_holds_the_secret_of_another_variable_is_one() -> None:
    password = {"DB_PASSWORD": "canary1", "COPY": "--pw=canary1"}
    environment = {**password, "LR": "0.1", "PIN": None, "SHORT_KEY": "0.1"}
    kept = Secrets().kept(environment)
    assert kept == {"DB_PASSWORD": True, "COPY": True, "LR": "0.1", "PIN": None, "SHORT_KEY": True}
    assert Secrets().values(environment) == {**password, "SHORT_KEY": "0.1"}


def test_a_value_that_holds_a_secret_of_others_is_one() -> None:
    environment = {"COPY": "t0ken-t0ken", "HEADER": "X t0ken-t0ken", "A": "1"}
    assert Secrets().kept(environment, ["t0ken-t0ken", "1"]) == {"COPY": True, "HEADER": True, "A": "1"}
    assert set(Secrets().values(environment, ["t0ken-t0ken"])) == {"COPY", "HEADER"}


@pytest.mark.parametrize("before", ["", "m", "me", "me:", "user:"])
@pytest.mark.parametrize("after", ["", ":", "::"])
def test_a_secret_in_base64_is_one(before: str, after: str) -> None:
    text = base64.b64encode(f"{before}t0ken-t0ken{after}".encode()).decode()
    kept = Secrets().kept({"HF_TOKEN": "t0ken-t0ken", "GIVEN": f"x {text}", "OTHER": "dDBrZW4="})
    assert kept == {"HF_TOKEN": True, "GIVEN": True, "OTHER": "dDBrZW4="}


def test_a_number_of_tokens_is_no_secret() -> None:
    assert not Secrets().is_secret("MAX_TOKENS", "4096")


VALUES = [
    "https://me:pw@pypi.acme.org/simple",
    "https://ghp_short@github.com/acme/it",
    "redis://:pw@host:6379/0",
    "postgresql+psycopg2://me:pw@host/db",
    "git+https://token@github.com/acme/it",
    "host=db user=me password=pw",
    "password=pw;host=db",
    "https://acme.blob.core.windows.net/x?sv=1&sig=abc",
    "hf_abcdefghijklmnopqrst",
    "ghp_abcdefghijklmnopqrst",
    "AKIAABCDEFGHIJKLMNOP",
    "sk-proj-Abc1defghijklmnop",
    "--token hf_abcdefghijklmnopqrst",
    "Bearer abcdefghijklmnopqrst",
    "--api-key=abc --lr 1",
    "--token abc",
    '{"user": "me", "password": "pw"}',
    '{"type": "service_account", "private_key": "abc"}',
    "https://hooks.slack.com/services/T/B/abc",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
]
NO_VALUES = [
    "--tokenizer gpt2 --keys 3",
    '{"tokens": 12, "name": "password"}',
    "https://acme.org/simple",
    "ssh://git@github.com/it",
    "me@acme.org",
    "a:b@c",
    "sk-learn",
    "1e-3",
    "",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_can_be_secret_by_itself(value: str) -> None:
    assert Secrets().is_secret("INDEX", value)


@pytest.mark.parametrize("value", NO_VALUES)
def test_other_values_are_not(value: str) -> None:
    assert not Secrets().is_secret("INDEX", value)


# ---- What is kept, and what is handed on --------------------------------------------------------

ENVIRONMENT = {"HF_TOKEN": "x", "DB_PASSWORD": None, "KEY": "", "OMP": "1", "INDEX": "https://me:pw@host"}


def test_of_a_secret_only_that_it_was_set_is_kept() -> None:
    assert Secrets().kept(ENVIRONMENT) == {
        "HF_TOKEN": True,
        "DB_PASSWORD": None,
        "KEY": "",
        "OMP": "1",
        "INDEX": True,
    }
    assert Secrets().kept(Secrets().kept(ENVIRONMENT)) == Secrets().kept(ENVIRONMENT)


def test_its_value_is_handed_on() -> None:
    assert Secrets().values(ENVIRONMENT) == {"HF_TOKEN": "x", "INDEX": "https://me:pw@host"}


# A text -> the same as it is shown.
TEXTS = {
    "export HF_TOKEN=canary A=1": "export HF_TOKEN=*** A=1",
    "DB_PASSWORD='can ary' ./load": "DB_PASSWORD=*** ./load",
    'SECRET="can ary"; false': "SECRET=***; false",
    "SECRET=$'can\\'ary' false": "SECRET=*** false",
    "SECRET+=canary": "SECRET+=***",
    "git clone https://me:canary@host/it": "git clone https://***@host/it",
    "curl -H 'X: known canary'": "curl -H 'X: ***'",
    "export A=1; B=2 python run.py lr=0.1": "export A=1; B=2 python run.py lr=0.1",
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.items(), ids=range(len(TEXTS)))
def test_a_text_is_shown_without_secrets(text: str, shown: str) -> None:
    assert Secrets().hide(text, ["known canary", "X"]) == shown


# ---- Settings -----------------------------------------------------------------------------------


def test_a_project_adds_names_and_removes_names(tmp_path: Path) -> None:
    settings = 'secrets = ["ACME_*"]\nnot_secrets = ["SORT_KEY", "INDEX", "acme_name"]\n'
    (tmp_path / "pyproject.toml").write_text(f"[tool.heyhi]\n{settings}")
    rules = Secrets.of(Project(tmp_path))
    names = ["ACME_LOGIN", "acme_login", "ACME_NAME", "SORT_KEY", "INDEX", "HF_TOKEN"]
    secret = [name for name in names if rules.is_secret(name, "https://me:pw@host")]
    assert secret == ["ACME_LOGIN", "acme_login", "HF_TOKEN"]


@pytest.mark.parametrize("settings", ["secrets = 3", 'not_secrets = "A"', "secrets = [1]"])
def test_settings_that_are_no_names_are_one_line(settings: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.heyhi]\n{settings}\n")
    with pytest.raises(ProjectError, match=r"secrets: expected \[") as caught:
        Secrets.of(Project(tmp_path))
    assert "\n" not in str(caught.value)
    assert Secrets.tolerant(Project(tmp_path)) == Secrets()


WRITTEN = {
    "HF_TOKEN=abcd": [1],
    "\n export A=1 HF_TOKEN='a bc' ; x": [2],
    "if x; then DB_PASSWORD=abcd y; fi": [1],
    "declare -x -r DB_PASSWORD=$'abcd'": [1],
    "# export DB_PASSWORD=abcd": [1],
    "f() { local apiKey=abcd; }": [1],
    "a \\\n  b=c\nHF_TOKEN=abcd": [3],
    "HF_TOKEN=abcd x\nW_KEY=abcd x": [1, 2],
    "echo known": [1],
    "HF_TOKEN=$1": [],
    'HF_TOKEN="$(cat x)" y': [],
    "HF_TOKEN=`cat x`": [],
    "HF_TOKEN= x": [],
    "SORT_KEY=lr": [],
    "USE_AUTH=false": [],
    "python run.py -c x sort_key=abcd a.key=abcd --key=abcd": [],
    "python run.py \\\n  sort_key=abcd": [],
    "args=(sort_key=abcd)": [],
    "keys=(abcd)": [],
    "# a key=value pair": [],
}


@pytest.mark.parametrize(("text", "lines"), WRITTEN.items())
def test_lines_of_a_script_that_have_a_secret(text: str, lines: list[int]) -> None:
    assert Secrets().written_in(text, ["known", "x"]) == lines
