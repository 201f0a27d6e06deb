"""The command line: what is typed becomes options and settings, and mistakes are named."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import tiny

from gan.command_line import MODES, OPTIONS, WIDTH, parse, usage
from gan.config import Config, allowed, flatten, settings
from gan.errors import ConfigError

ROOT = Path(__file__).parents[1]
CONFIG = f"--config={Path(tiny.__file__)}"
RUN = (CONFIG, "--workdir=w")


def options_of(*arguments: str):
    return parse(["gan.main", *arguments]).options


def config_of(*arguments: str) -> Config:
    return parse(["gan.main", *RUN, *arguments]).read_config()


MISTAKES = {
    ("--confg=x",): "--confg: no such option. Did you mean 'config'?",
    ("-q",): "-q: no such option. See --help.",
    (CONFIG, "--config.stepz=3"): "--config.stepz: no such setting. Did you mean 'config.steps'?",
    (CONFIG, "--config.data.batchsize=3"): "Did you mean 'config.data.batch_size'?",
    (CONFIG, "--config.g_optimizer.learning.rate=3"): "--config.g_optimizer.learning.rate: no such",
    (CONFIG, "--noconfig.augment.flipp"): "Did you mean 'config.augment.flip'?",
    (*RUN, "--noconfig.steps"): "--noconfig.steps: no such setting. Did you mean 'config.steps'?",
    (*RUN, "--noconfig.augment.flip=1"): "does not take an argument",
    (*RUN, "--config.steps=many"): "--config.steps=many: invalid literal",
    (*RUN, "--config.steps=1.5"): "--config.steps=1.5: invalid literal",
    (*RUN, "--config.steps=none"): "--config.steps=none: invalid literal",
    (*RUN, "--config.r1_end=much"): "--config.r1_end=much: could not convert",
    (*RUN, "--config.augment.flip=maybe"): "--config.augment.flip=maybe: must be true or false",
    (*RUN, "--config.steps"): "Missing value for flag --config.steps",
    (*RUN, "extra"): "'extra' is no option",
    (*RUN, "--mode=trian"): "--mode=trian: must be one of train, prepare, export, evaluate, ",
    (*RUN, "--mode=preflite"): "Did you mean 'preflight'?",
    (CONFIG,): "--mode=train needs --workdir=FOLDER",
    (*RUN, "--seeds=3"): "--seeds goes with --mode=sample or evaluate, not --mode=train",
    (*RUN, "--mode=sample"): "--mode=sample takes the workdir's configuration: no --config",
    (*RUN, "--mode=compare"): "--mode=compare reads the scores of the runs: no --config",
    (*RUN, "--mode=preflight", "--topology=x"): "--mode=preflight leaves nothing behind: no --wor",
    ("--mode=preflight",): "--mode=preflight needs --topology=NAME, such as v5e:4x4 or h200:8.",
    ("--config.steps=3", "--workdir=w"): "--config.steps=3 changes a setting of --config, which is",
    ("--config.network.film", "--workdir=w"): "--config.network.film changes a setting of --config",
    ("--mode=prepare",): "--mode=prepare needs --config=FILE",
    (CONFIG, "--mode=export"): "--mode=export needs --out=FOLDER",
    (*RUN, "--file_format=x"): "--file_format goes with --mode=export",
    (
        CONFIG,
        "--mode=export",
        "--out=o",
        "--file_format=x",
    ): "must be one of tfrecord, array_record",
    (*RUN, "--mode=evaluate", "--verify"): "goes with --mode=train or prepare",
    ("--mode=sample", "--workdir=w", "--size=0"): "--size=0: must be at least 1",
    ("--mode=preflight", "--topology=x", "--price=-1"): "--price=-1.0: must not be negative",
    ("--mode=preflight", "--topology=x", "--price=nan"): "--price=nan: must be finite",
    (*RUN, "--process_id=-1"): "--process_id=-1: must not be negative",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_parse__names_a_mistake_and_its_remedy(arguments):
    with pytest.raises(ConfigError, match=re.escape(MISTAKES[arguments])):
        parse(["gan.main", *arguments])


MISTAKES_OF_CONFIG = {
    ("--config.network.gwidth=3",): "Did you mean 'config.network.g_width'?",
    ("--noconfig.network.filn",): "Did you mean 'config.network.film'?",
    ("--config.network.g_width=wide",): "--config.network.g_width=wide: invalid literal",
    ("--config.network.name=dcgam",): "config.network.name='dcgam' is not one of",
    ("--config.network.g_width", "8", "9"): "'9' is no option",
    ("--config=configs/quickstat.py",): "Did you mean 'configs/quickstart.py'?",
    ("--config=configs/celeba64.py:narow",): "no such variant. Did you mean 'narrow'?",
    ("--config=nowhere/mine.py",): "nowhere/mine.py: no such file. The package has: configs/cele",
}


@pytest.mark.parametrize("arguments", MISTAKES_OF_CONFIG, ids=" ".join)
def test_read_config__names_a_mistake_and_its_remedy(monkeypatch, arguments):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=re.escape(MISTAKES_OF_CONFIG[arguments])):
        config_of(*arguments)


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (("--config.steps=7",), "steps", 7),
        (("--config.steps", "7"), "steps", 7),
        (("-config.steps=7",), "steps", 7),
        (("--config.steps=7", "--config.steps=8"), "steps", 8),
        (("--config.r1=3",), "r1", 3.0),
        (("--config.r1", "-5"), "r1", -5.0),
        (("--config.r1=1e-3",), "r1", 1e-3),
        (("--config.r1_end=0.5",), "r1_end", 0.5),
        (("--config.r1_end=0.5", "--config.r1_end=none"), "r1_end", None),
        (("--config.data.path=none",), "data.path", None),
        (("--config.data.attributes=Smiling,Male",), "data.attributes", "Smiling,Male"),
        (("--noconfig.augment.flip",), "augment.flip", False),
        (("--config.augment.flip=false",), "augment.flip", False),
        (("--config.augment.real_only",), "augment.real_only", True),
        (("--config.network.g_width", "9"), "network.g_width", 9),
        (("--noconfig.network.film", "--config.seed=1"), "network.film", False),
        (("--config.network.name=dcgan", "--config.network.d_norm=none"), "network.d_norm", "none"),
    ],
)
def test_read_config__takes_what_was_typed(arguments, name, value):
    config, base = config_of(*arguments), flatten(config_of())
    found = flatten(config)
    assert found[name] == value
    assert type(found[name]) is type(value)
    seed = {"seed": 1} if "--config.seed=1" in arguments else {}
    assert found == base | {name: value} | seed


def test_read_config__changes_one_of_two_optimizers_that_a_file_shares(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = config_of("--config=configs/quickstart.py", "--config.g_optimizer.b1=0.25")
    assert (config.g_optimizer.b1, config.d_optimizer.b1) == (0.25, 0.5)


def test_parse__takes_the_last_of_two_configurations(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert config_of("--config", "configs/quickstart.py").steps == 2_000
    assert config_of("--config=configs/celeba64.py:narrow").network.g_width == 32


@pytest.mark.parametrize("name", OPTIONS)
def test_parse__gives_each_option_its_default(name):
    assert (
        getattr(options_of(*RUN), name)
        == {
            **{name: option.known.default for name, option in OPTIONS.items()},
            "config": CONFIG.removeprefix("--config="),
            "workdir": "w",
        }[name]
    )


def test_parse__takes_options_in_each_form():
    options = options_of("--mode", "sample", "--workdir=w", "--noindividual", "-seeds=3")
    assert (options.mode, options.individual, options.seeds) == ("sample", False, "3")


@pytest.mark.parametrize("name", OPTIONS)
def test_options__go_with_the_modes_that_they_name(name):
    assert {*OPTIONS[name].modes} <= {*MODES}
    assert OPTIONS[name].modes
    for mode in {*MODES} - {*OPTIONS[name].modes}:
        value = [f"--{name}"] if OPTIONS[name].known.type is bool else [f"--{name}=1"]
        with pytest.raises(ConfigError, match=f"--{name} goes with --mode="):
            parse(["gan.main", f"--mode={mode}", "--workdir=w", *value])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = (", "SyntaxError"),
        ("from gan.config import Config\ndef get_config(): return Config(stepz=3)", "stepz"),
        ("from gan.config import Config\ndef get_config(): return Config(steps='3')", "steps='3'"),
        ("def get_config(): return {'steps': 3}", "get_config() returned {'steps': 3}"),
        ("x = 1", "get_config"),
        ("raise OSError('no disk')", "OSError: no disk"),
    ],
)
def test_read_config__names_a_broken_file(tmp_path, source, said):
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        config_of(f"--config={path}")
    assert f"--config={path}: " in str(caught.value)


def test_usage__names_every_option_and_setting_with_what_is_known_of_it():
    text = usage("About.")
    entries = dict(re.findall(r"^  (\S+) +((?:.+\n?(?: {30,}.+\n?)*))", text + "\n", re.M))
    entries = {name.split("=")[0]: (name, " ".join(x.split())) for name, x in entries.items()}
    known = {f"--{name}": option.known for name, option in OPTIONS.items()}
    assert entries.keys() == known.keys() | settings(Config()).keys()
    for name, setting in (known | settings(Config())).items():
        shown, meaning = entries[name]
        assert setting.meaning in meaning
        assert allowed(setting) in meaning
        if setting.default not in (None, False):
            assert shown == f"{name}={setting.default}"
    assert max(len(line) for line in text.splitlines()) <= WIDTH


@pytest.mark.parametrize("arguments", [("--help",), (CONFIG, "--help", "--config.nonsense=3")])
def test_parse__takes_help_whatever_else_was_typed(arguments):
    assert options_of(*arguments).help


OTHER = """
import dataclasses
from gan.config import setting

@dataclasses.dataclass(kw_only=True)
class Settings:
    name: str = setting("other", "architecture", choices_in="gan.config.network_names")
    depth: int = setting(3, "blocks", above=0)
"""
WITH_OTHER = """
import sys
from gan.command_line import parse, usage
from gan.config import validate, network_names
from gan.errors import ConfigError

def read(*arguments):
    config = parse(["", "--config=configs/quickstart.py", "--workdir=w", *arguments]).read_config()
    validate(config)
    return config

assert network_names() == ("dcgan", "other")
assert read().network.g_width == 32
other = read("--config.network.depth=5", "--config.network.name=other").network
assert (type(other).__name__, other.name, other.depth) == ("Settings", "other", 5)
assert read("--config.network.name", "other").network.depth == 3
for wrong, said in {
    "--config.network.dept=5": "Did you mean 'config.network.depth'?",
    "--config.network.g_width=5": "--config.network.g_width: no such setting.",
    "--config.network.depth=0": "config.network.depth=0: must be greater than 0",
}.items():
    try:
        read("--config.network.name=other", wrong)
    except ConfigError as error:
        assert said in str(error), error
    else:
        raise AssertionError(wrong)
assert "network.depth=3 " in usage("") and "network.name=other has" in usage("")
"""


def test_read_config__knows_an_architecture_that_is_one_new_file(tmp_path):
    shutil.copytree(ROOT / "gan", tmp_path / "gan")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "gan" / "model" / "networks" / "other.py").write_text(OTHER)
    command = [sys.executable, "-c", WITH_OTHER]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mode", ["train", "evaluate", "prepare"])
def test_parse__where_the_data_are_may_be_said_of_a_run(mode):
    command = parse(["", "--workdir=run", f"--mode={mode}", "--config.data.path=moved"])
    config = command.move_data(Config())
    assert config.data.path == str(Path("moved").absolute())
    with pytest.raises(ConfigError, match=r"config\.seed=1 changes a setting of --config"):
        parse(["", "--workdir=run", f"--mode={mode}", "--config.seed=1"])
    with pytest.raises(ConfigError, match=r"changes a setting of --config"):
        parse(["", "--workdir=run", "--mode=sample", "--config.data.path=moved"])
