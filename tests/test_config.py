"""Configuration: every rule fires and names its setting, files come back, experiments are valid."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import pytest

from gan import errors
from gan.config import Config, flatten, from_json, resolve, to_json, validate
from gan.errors import ConfigError, nearest

DEFAULTS = flatten(Config())
NUMBERS = [name for name, value in DEFAULTS.items() if type(value) in (int, float)]
WHOLE = [name for name in NUMBERS if type(DEFAULTS[name]) is int]
FLOATS = [name for name in NUMBERS if type(DEFAULTS[name]) is float]
CONFIGS = Path(__file__).parents[1] / "configs"


def changed(**changes) -> Config:
    """The defaults but for some settings, by their dotted name with __ for the dot."""
    config = Config()
    for name, value in changes.items():
        *group, last = name.split("__")
        setattr(getattr(config, group[0]) if group else config, last, value)
    return config


def with_value(name: str, value) -> Config:
    return changed(**{name.replace(".", "__"): value})


def other(value):
    """A valid value of the same type that is not this one."""
    if isinstance(value, bool):
        return not value
    if value is None or isinstance(value, str):
        return "/somewhere else/ünïcode"
    return value + 1 if isinstance(value, int) else value / 3 + 0.1


def refuses(config: Config, name: str, num_devices: int = 1):
    with pytest.raises(ConfigError, match=rf"^config\.{re.escape(name)}="):
        validate(config, num_devices)


def test_the_defaults_are_valid():
    validate(Config())


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_may_be_negative(name):
    refuses(with_value(name, type(DEFAULTS[name])(-1)), name)


@pytest.mark.parametrize("name", sorted({*WHOLE} - {"seed", "steps_per_call", "profile"}))
def test_no_count_may_be_0(name):
    refuses(with_value(name, 0), name)


@pytest.mark.parametrize("name", FLOATS)
def test_no_setting_may_be_not_a_number(name):
    refuses(with_value(name, float("nan")), name)


@pytest.mark.parametrize("name", ["g_optimizer.learning_rate", "d_optimizer.learning_rate"])
def test_learning_rates_may_not_be_0(name):
    refuses(with_value(name, 0.0), name)


@pytest.mark.parametrize(
    "name",
    [
        *("ema_decay", "augment.translate"),
        *("g_optimizer.b1", "g_optimizer.b2", "d_optimizer.b1", "d_optimizer.b2"),
    ],
)
def test_decays_and_shares_are_below_1(name):
    refuses(with_value(name, 1.0), name)
    validate(with_value(name, 0.0))
    validate(with_value(name, 0.9999))


@pytest.mark.parametrize(
    "name", ["seed", "r1", "gradient_penalty", "augment.rotate", "augment.scale"]
)
def test_what_is_0_is_off(name):
    validate(with_value(name, type(DEFAULTS[name])(0)))


def test_a_probability_is_within_0_and_1():
    validate(changed(augment__probability=0.0))
    validate(changed(augment__probability=1.0))
    refuses(changed(augment__probability=1.01), "augment.probability")


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("parallel", ["jit", "pmap"]),
        ("network.dtype", ["float32", "bfloat16"]),
        ("network.d_norm", ["batch", "layer", "none"]),
    ],
)
def test_a_choice_is_one_of_those_listed(name, choices):
    for choice in choices:
        validate(with_value(name, choice))
    with pytest.raises(ConfigError, match=rf"^config\.{name}='neither'.*{', '.join(choices)}"):
        validate(with_value(name, "neither"))


def test_a_batch_is_split_evenly_over_the_devices():
    validate(changed(data__batch_size=12), num_devices=4)
    with pytest.raises(ConfigError, match=r"^config\.data\.batch_size=10: .* 4 devices"):
        validate(changed(data__batch_size=10), num_devices=4)


def test_the_gradient_penalty_goes_without_batch_norm():
    refuses(changed(loss="wasserstein_gp"), "network.d_norm")
    for norm in ("layer", "none"):
        validate(changed(loss="wasserstein_gp", network__d_norm=norm))


def test_flatten_has_every_setting_under_its_dotted_name():
    config, leaves = Config(), {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            for inner in dataclasses.fields(value):
                leaves[f"{field.name}.{inner.name}"] = getattr(value, inner.name)
        else:
            leaves[field.name] = value
    assert flatten(config) == leaves


@pytest.mark.parametrize("name", DEFAULTS)
def test_each_setting_survives_the_file(name):
    config = with_value(name, other(DEFAULTS[name]))
    assert config != Config()
    assert from_json(to_json(config)) == config
    assert flatten(resolve(config)) == DEFAULTS | {name: other(DEFAULTS[name])}


def test_settings_that_a_file_leaves_out_are_the_defaults():
    assert from_json("{}") == Config()
    assert from_json('{"data": {"batch_size": 8}}') == changed(data__batch_size=8)


@pytest.mark.parametrize("name", FLOATS)
def test_a_whole_number_becomes_a_float_where_one_belongs(name):
    value = flatten(resolve(with_value(name, 3)))[name]
    assert (type(value), value) == (float, 3.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"steps_": 3}', r"^config\.steps_: no such setting\. Did you mean 'steps'\?"),
        ('{"data": {"batchsize": 3}}', r"^config\.data\.batchsize: .* 'batch_size'\?"),
        ('{"qqq": 3}', r"^config\.qqq: no such setting\.$"),
        ('{"steps": 1.0}', r"^config\.steps=1\.0: must be of type int"),
        ('{"steps": "3"}', r"^config\.steps='3': must be of type int"),
        ('{"steps": true}', r"^config\.steps=True: must be of type int"),
        ('{"steps": null}', r"^config\.steps=None: must be of type int"),
        ('{"r1": true}', r"^config\.r1=True: must be of type float"),
        ('{"r1": "1"}', r"^config\.r1='1': must be of type float"),
        ('{"loss": 3}', r"^config\.loss=3: must be of type str"),
        ('{"augment": {"flip": 1}}', r"^config\.augment\.flip=1: must be of type bool"),
        ('{"data": {"path": 3}}', r"^config\.data\.path=3: must be of type str \| None"),
        ('{"data": {"source": null}}', r"^config\.data\.source=None: must be of type str"),
        ('{"data": 3}', r"^config\.data=3: must be an object with the fields of Data"),
        ("[]", r"^config=\[\]: must be an object with the fields of Config"),
        ('{"steps": 3', r"^not JSON: "),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        from_json(text)


def test_the_file_is_json_that_states_every_setting():
    stated = json.loads(to_json(Config()))
    assert stated == dataclasses.asdict(Config())


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXPERIMENTS = [path for path in sorted(CONFIGS.glob("*.py")) if path.stem != "__init__"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_and_their_variants_are_valid(path):
    module = load(path)
    variants = re.findall(r"`:(\w+)`", module.__doc__)
    configs = [module.get_config(), *(module.get_config(variant) for variant in variants)]
    for config in configs:
        validate(config)
        assert resolve(config) == config
    assert len({to_json(config) for config in configs}) == len(configs)


def test_there_are_experiments_with_and_without_variants():
    documented = {path.stem: re.findall(r"`:(\w+)`", load(path).__doc__) for path in EXPERIMENTS}
    assert documented["celeba64"] == ["narrow"]
    assert "quickstart" in documented


def test_exit_codes_tell_errors_apart():
    kinds = [
        *(errors.ConfigError, errors.DataError, errors.Diverged),
        *(errors.WorkdirInUse, errors.NotSaved, errors.Preempted),
    ]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(kinds)
    # Not those of Python, of the shell, nor of signals (128 and above).
    assert all(3 <= code < 126 for code in codes)
    assert codes == [64, 65, 70, 73, 74, 75]  # Launch scripts act on them.


def test_a_misspelt_name_gets_the_nearest_and_a_strange_one_none():
    known = ["batch_size", "image_size", "path"]
    assert nearest("batchsize", known) == " Did you mean 'batch_size'?"
    assert nearest("imagesize", iter(known)) == " Did you mean 'image_size'?"
    assert nearest("zzz", known) == ""
    assert nearest("batch_size", []) == ""
