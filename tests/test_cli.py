"""The command line as a user meets it: in a process of its own, judged by what it prints and how it exits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from agentgym.models.load import Lora
from agentgym.trainers.settings import Settings, Stage

QUESTION = '{"question": "1+1?", "answer": "2"}\n'


def agentgym(cwd: Path, *words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`agentgym words` in `cwd`, off the network."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    command = [*before, sys.executable, "-m", "agentgym", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def complaint(cwd: Path, *words: str, before: tuple[str, ...] = ()) -> str:
    """The one line that wrong input is answered with, after checking that it is one and the exit code 2."""
    done = agentgym(cwd, *words, before=before)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("agentgym: error: ")
    return line.removeprefix("agentgym: error: ")


def dry(cwd: Path, *words: str) -> str:
    done = agentgym(cwd, "train", *words, "--dry-run")
    assert done.returncode == 0, done.stderr
    return done.stdout


UNKNOWN = [
    ("max_step=3", "unknown key 'max_step': did you mean 'max_steps'?"),
    ("learning_rate=1e-5", "unknown key 'learning_rate': did you mean 'lr'?"),
    ("num_generations=4", "unknown key 'num_generations': did you mean 'group_size'?"),
    ("kl_coef=0.1", "unknown key 'kl_coef': did you mean 'stages.NAME.losses'?"),
    ("env.max_turn=3", "env retool: unknown key 'max_turn': did you mean 'max_turns'?"),
    ("env.digits=3", "env retool: unknown key 'digits': did you mean 'tasks.digits'?"),
    ("max_sequences=3", "unknown key 'max_sequences': did you mean 'engine.max_sequences'?"),
    ("lora.rnak=3", "settings.lora: unknown key 'rnak': did you mean 'rank'?"),
    ("env=retol", "unknown env 'retol': did you mean 'retool'? Known: "),
    ("env.sandbox=locl", "unknown sandbox 'locl': did you mean 'local'? Known: "),
    (
        "env.tasks=ariht",
        "unknown tasks 'ariht': did you mean 'arith'? Known: arith, countdown, fictional, file, functions",
    ),
    ("stages.rl.stepz=5", "settings.stages.rl: unknown key 'stepz': did you mean 'steps'?"),
    ("stages.rl.learning_rate=1", "settings.stages.rl: unknown key 'learning_rate': did you mean 'lr'?"),
    ("recipe=gpro", "unknown recipe 'gpro': did you mean 'grpo'? Known: aepo, arpo, "),
    ("engine=toch", "unknown engine 'toch': did you mean 'torch'? Known: "),
    ("stages.rll.lr=1", "unknown stage 'rll': did you mean 'rl'? Known: cold_start, rl"),
    ("stages.rl.reduction=token_men", "unknown 'token_men': did you mean 'token_mean'? Known: constant, "),
    ("env=nowhere.py:Env", "there is no file 'nowhere.py'"),
    ("env=json:JSONEncoder", "'JSONEncoder' is no dataclass in json"),
]

WRONG = [
    ("weight_decay=abc", "weight_decay: expected float, not 'abc'"),
    (
        "lr=1e-4",
        "lr=1e-4 would change nothing: every stage has its own, stages.cold_start.lr=0.006, stages.rl.lr=",
    ),
    ("max_steps=3", "every stage has its own, stages.cold_start.steps=500, stages.rl.steps=100"),
    ("batch_size=1.5", "batch_size: expected int, not '1.5'"),
    ("resume=maybe", "resume: expected true or false, not 'maybe'"),
    ("lora=3", "lora: expected a table, not '3'"),
    ("stages.rl.signals=success", "signals: expected a list, not 'success'"),
    ("stages=3", "say stages.NAME.key=value. Known: cold_start, rl"),
    ('env.sandbox={name="local", timeout=-1}', "sandbox local: timeout must be above 0, not -1"),
    ("max_turns=0", "env retool: max_turns must be at least 1, not 0"),
    (
        "rollout={name='entropy_branching', initial_rollouts=9}",
        "=9 of group_size=8 leaves nothing",
    ),
    ("rollout={name='entropy_branching', initial_rollouts='half'}", "unknown 'half': Known: balanced, int"),
    ("env=my/maze.py", "env 'my/maze.py': say my/maze.py:Class"),
    ("initial_rollouts=4", "initial_rollouts: no stage here has rollout entropy_branching; recipe=arpo has"),
    ("temperature=-1", "temperature must be at least 0, not -1"),
    ("run_name=a/b", "run_name must be a plain folder name, not 'a/b'"),
    ("stages.cold_start.steps=0", "stage 'cold_start': steps must be at least 1, not 0"),
    ("stages.rl.losses=[]", "stage 'rl' has no losses"),
    ("weight_decay=", "weight_decay: expected float, not ''"),
    ("lr", "'lr' is not key=value"),
    ("--lr", "--lr needs a value"),
    ("=3", "'=3' has no key before its value"),
]


def test_hints_name_settings_that_exist() -> None:
    own, stage, lora = ({f.name for f in fields(cls)} for cls in (Settings, Stage, Lora))
    known = {*own, *(f"lora.{name}" for name in lora), *(f"stages.NAME.{name}" for name in stage)}
    assert set(Settings.also_called.values()) <= known
    assert set(Stage.also_called.values()) <= stage
    assert not own & Settings.also_called.keys()
    assert not stage & Stage.also_called.keys()


@pytest.mark.parametrize(("word", "said"), UNKNOWN + WRONG)
def test_a_wrong_setting_is_one_line(tmp_path: Path, word: str, said: str) -> None:
    assert said in complaint(tmp_path, "train", word)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trian",), "No such command 'trian'. Did you mean 'train'?"),
        (("eval", "-n", "0"), "'-n': 0 is not in the range x>=1"),
        (("check", "sandbox=locl"), "unknown sandbox 'locl': did you mean 'local'?"),
        (("check", "llm=local"), "check takes one of env=NAME, sandbox=NAME, tool=NAME, model=NAME or engine="),
        (("check", "tool=pyton"), "unknown tool 'pyton': did you mean 'python'?"),
        (("train", "-c", "absent.toml"), "config absent.toml: No such file or directory"),
        (("train", "-c", "bad.toml"), "config bad.toml: not TOML: Invalid value (at line 2, column 6)"),
        (("train", "recipe=absent.toml"), "recipe absent.toml: No such file or directory"),
    ],
)
def test_a_wrong_command_or_file_is_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "bad.toml").write_text("seed = 1\nlr = = 3\n")
    assert said in complaint(tmp_path, *words)


@pytest.mark.parametrize("command", [("train",), ("eval", "-n", "1"), ("rollout",)])
def test_wrong_tasks_are_named_by_file_and_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "malformed.jsonl").write_text(QUESTION + "{oops\n")
    (tmp_path / "unanswered.jsonl").write_text(QUESTION + '{"question": "1+2?"}\n')
    assert "there is no file 'absent.jsonl'" in complaint(tmp_path, *command, "env.tasks=absent.jsonl")
    assert "malformed.jsonl:2: not JSON" in complaint(tmp_path, *command, "env.tasks=malformed.jsonl")
    said = complaint(tmp_path, *command, "env.tasks=unanswered.jsonl")
    assert "unanswered.jsonl:2: a row needs an answer; it has question" in said
    assert not (tmp_path / "runs").exists()


def test_too_few_rows_to_evaluate_on_are_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"id": "a", "question": "1+1?", "answer": "2"}\n')
    assert "none is in the eval split" in complaint(tmp_path, "train", "env.tasks=one.jsonl")


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "read_only"
    folder.mkdir()
    folder.chmod(0o555)
    (tmp_path / "file").touch()
    before: tuple[str, ...] = ()
    if os.getuid() == 0:  # root writes anywhere, unless it gives that up
        if not shutil.which("setpriv"):
            pytest.skip("runs as root, and setpriv is not there to give that up")
        before = ("setpriv", "--bounding-set=-dac_override")
    said = complaint(tmp_path, "train", "output_dir=read_only/runs", "run_name=a", before=before)
    assert said.startswith(f"output_dir: cannot write to read_only/runs/a: {folder} is not")
    assert "output_dir: cannot write to file/a" in complaint(tmp_path, "train", "output_dir=file", "run_name=a")
    assert "--save file/out.jsonl" in complaint(tmp_path, "eval", "-n", "1", "--save", "file/out.jsonl")


def test_the_command_alone_tells_what_there_is(tmp_path: Path) -> None:
    done = agentgym(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "train" in done.stdout


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.toml").write_text("seed = 3\n")
    said = complaint(tmp_path, "train", "run_name=mine")
    assert "runs/mine holds a run already; resume=true goes on with it, another run_name starts anew" in said
    assert (tmp_path / "runs" / "mine" / "config.toml").read_text() == "seed = 3\n"
    assert "there is no run in empty" in complaint(tmp_path, "train", "resume=true", "output_dir=empty")


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "no_vocabulary").mkdir()
    (tmp_path / "no_vocabulary" / "config.json").write_text('{"model_type": "qwen2"}')
    (tmp_path / "no_model").mkdir()
    absent = complaint(tmp_path, "train", "model=./absent")
    assert (
        "model=./absent: no such directory. Use nano, nano-search, nano-sql, nano-memory, a path, or a Hugging "
        "Face id" in absent
    )
    assert "model=no_model: no config.json there" in complaint(tmp_path, "eval", "-n", "1", "model=no_model")
    assert "model=no_vocabulary: no tokenizer there" in complaint(tmp_path, "train", "model=no_vocabulary")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    assert "device=cuda: torch finds no CUDA device" in complaint(tmp_path, "train", "device=cuda")
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_reads_back_and_reproduces_itself(tmp_path: Path) -> None:
    words = ["weight_decay=3e-4", "env.tasks=countdown", "max_turns=3", "stages.rl.lr=2e-5", 'run_name=a "b" é']
    printed = dry(tmp_path, *words)
    table = tomllib.loads(printed)
    assert (table["weight_decay"], table["run_name"], table["env"]["tasks"]) == (3e-4, 'a "b" é', "countdown")
    assert {s["name"]: s["lr"] for s in table["stages"]}["rl"] == 2e-5
    (tmp_path / "first.toml").write_text(printed)
    assert tomllib.loads(dry(tmp_path, "-c", "first.toml")) == table
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_reads_back_what_is_without_end(tmp_path: Path) -> None:
    (tmp_path / "endless.toml").write_text("max_grad_norm = inf\n")
    printed = dry(tmp_path, "-c", "endless.toml")
    assert tomllib.loads(printed)["max_grad_norm"] == float("inf")


def test_the_command_line_goes_over_files_and_files_over_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('recipe = "grpo"\nlr = 1e-3\nseed = 1\n[stages.rl]\nsteps = 7\nlr = 5e-4\n')
    (tmp_path / "b.toml").write_text("seed = 2\n[env]\ntimeout = 2.0\n")
    table = tomllib.loads(dry(tmp_path, "-c", "a.toml", "-c", "b.toml", "stages.rl.lr=1e-5", "env.max_turns=2"))
    [stage] = table["stages"]
    assert (table["lr"], table["seed"], table["env"]["timeout"]) == (1e-3, 2, 2.0)
    assert (stage["steps"], stage["lr"], stage["losses"][1]["name"]) == (7, 1e-5, "kl")


def test_arpos_names_go_to_the_rollout_that_has_them(tmp_path: Path) -> None:
    short = dry(tmp_path, "recipe=arpo", "initial_rollouts=4", "entropy_weight=0.4")
    assert short == dry(
        tmp_path, "recipe=arpo", "stages.rl.rollout.initial_rollouts=4", "stages.rl.rollout.entropy_weight=0.4"
    )
    [stage] = tomllib.loads(short)["stages"]
    assert stage["rollout"] | {"initial_rollouts": "4", "entropy_weight": "0.4"} == stage["rollout"]


def test_a_rollout_is_for_the_stages_that_let_the_policy_play(tmp_path: Path) -> None:
    table = tomllib.loads(dry(tmp_path, "rollout=independent", "rollout.budget=tokens", "rollout.tokens=900"))
    assert [stage["rollout"] for stage in table["stages"]] == [
        "demonstrations",
        {"name": "independent", "budget": "tokens", "tokens": "900"},
    ]


def test_a_recipe_left_open_is_one_for_the_model(tmp_path: Path) -> None:
    """Those that have an environment's name are sized for the built-in policy, and for what it became in a run."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/config.json").write_text('{"model_type": "llama"}')
    step = tmp_path / "runs/mine/checkpoints/step_4"
    step.mkdir(parents=True)
    (step / "config.json").write_text('{"model_type": "qwen2", "follows_instructions": false}')
    (step.parent / "latest").write_text("step_4\n")

    def chosen(*words: str) -> str:
        return str(tomllib.loads(dry(tmp_path, "env=sql", *words))["recipe"])

    for built_in in ("nano-sql", "runs/mine", "runs/mine/checkpoints/step_4"):
        assert chosen(f"model={built_in}") == "sql"
    for other in ("theirs", "Qwen/Qwen2.5-0.5B-Instruct"):
        assert chosen(f"model={other}") == "grpo"
        assert chosen(f"model={other}", "recipe=sql") == "sql"


def test_demonstrations_are_shown_without_a_recipes_slips(tmp_path: Path) -> None:
    shown = agentgym(tmp_path, "rollout", "env=sql", "--demo", "-n", "8")
    assert shown.stdout.count("success · outcome done · reward 1.00") == 8, shown.stdout
    wanted = agentgym(tmp_path, "rollout", "env=sql", "--demo", "-n", "2", "env.demo_direct_rate=1")
    assert wanted.stdout.count("no success") == 2


def test_a_setting_is_for_the_stages_that_have_none_of_their_own(tmp_path: Path) -> None:
    stages = 'stages=[{name="a", steps=2, lr=0.5, losses=["sft"]}, {name="b", steps=2, losses=["sft"]}]'
    assert tomllib.loads(dry(tmp_path, stages, "lr=0.25"))["lr"] == 0.25
    assert "max_steps=3 would change nothing" in complaint(tmp_path, "train", stages, "max_steps=3", "--dry-run")


def test_both_spellings_mean_the_same(tmp_path: Path) -> None:
    plain = dry(tmp_path, "top_p=0.9", "eval_tasks=3", "env.max_turns=2")
    assert plain == dry(tmp_path, "--top_p", "0.9", "--eval-tasks=3", "--env.max_turns", "2")
    assert plain != dry(tmp_path)


def test_help_and_version(tmp_path: Path) -> None:
    for words, said in ((("--help",), "train"), (("train", "--help"), "--dry-run"), (("--version",), "0.")):
        done = agentgym(tmp_path, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
    script = Path(sys.executable).with_name("agentgym")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == agentgym(tmp_path, "--help").stdout


def test_a_dry_run_loads_nothing_slow(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "agentgym", "train", "env=retool", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[1].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"agentgym", "click"} <= loaded
    assert not loaded & {"torch", "numpy", "transformers", "asyncio", "rich", "gymnasium", "pyarrow", "email"}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("host=0.0.0.0", "give a token_file, token_env or token"),
        ("max_session=3", "serve: unknown key 'max_session': did you mean 'max_sessions'?"),
        ("max_calls=0", "serve: max_calls must be above 0, not 0"),
        ("sandbox=locl", "unknown sandbox 'locl': did you mean 'local'? Known: "),
        ("token_file=nowhere", "token_file nowhere: "),
        ("host=nowhere.invalid", "host=nowhere.invalid: "),
    ],
)
def test_a_wrong_word_to_serve_is_one_line(tmp_path: Path, word: str, said: str) -> None:
    assert said in complaint(tmp_path, "serve", word)


def test_serve_without_its_extra_says_so(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('no', name='uvicorn')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-m", "agentgym", "serve"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "serve needs the extra `serve` (pip install -e '.[serve]'): there is no uvicorn\n" in done.stderr
