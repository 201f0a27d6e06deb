"""Configuration: each setting states what is allowed, and files and experiments keep to it."""

import dataclasses
import functools
import json
import math
import re
import typing

import pytest

from gan import errors
from gan.config import (
    Config,
    Setting,
    choices_of,
    flatten,
    from_json,
    network_names,
    network_settings,
    range_of,
    resolve,
    settings,
    to_json,
    validate,
)
from gan.errors import ConfigError, nearest

SETTINGS, DEFAULTS = settings(Config()), flatten(Config())


def kinds(known: Setting) -> set[type]:
    return {*(typing.get_args(known.type) or (known.type,))}


NUMBERS = [name for name, known in SETTINGS.items() if {int, float} & kinds(known)]
FLOATS = [name for name in NUMBERS if float in kinds(SETTINGS[name])]
WHOLE = [name for name in NUMBERS if name not in FLOATS]
CHOICES = [name for name, known in SETTINGS.items() if known.choices or known.choices_in]


def changed(**changes) -> Config:
    """The defaults but for some settings, by their dotted name with __ for the dot."""
    config = Config(burn_in=1.0)
    for name, value in changes.items():
        *groups, last = name.split("__")
        setattr(functools.reduce(getattr, groups, config), last, value)
    return config


def with_value(name: str, value) -> Config:
    """A configuration in which everything else goes with this value."""
    more = {"gradient_penalty": 10.0} if value == "wasserstein" else {}
    return changed(**more | {name.replace(".", "__"): value})


def other(name: str):
    """A value of the right type that is not the default."""
    value, kind = DEFAULTS[name], kinds(SETTINGS[name]) - {type(None)}
    if kind == {bool}:
        return not value
    if kind == {str}:
        choices = [choice for choice in choices_of(SETTINGS[name]) if choice != value]
        return (choices or [value if name == "network.name" else "/somewhere else/ünïcode"])[0]
    return (value or 0) + 1 if kind == {int} else (value or 0) / 3 + 0.1


def refuses(config: Config, name: str, num_devices: int = 1):
    with pytest.raises(ConfigError, match=rf"^config\.{re.escape(name)}="):
        validate(config, num_devices)


def test_validate__takes_the_defaults():
    validate(Config())


@pytest.mark.parametrize("name", SETTINGS)
def test_setting__has_a_meaning_of_one_phrase(name):
    meaning = SETTINGS[name].meaning
    assert 5 <= len(meaning) <= 110
    assert meaning[-1] not in ".,:"


def test_setting__is_unique_in_name_and_default():
    """The metadata is the only place: the dataclass has the same defaults and no others."""
    assert {name: known.default for name, known in SETTINGS.items()} == DEFAULTS
    unexplained = {
        field.name
        for kind in (Config, *(type(value) for value in vars(Config()).values()))
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
        if not field.metadata and not dataclasses.is_dataclass(getattr(kind(), field.name))
    }
    assert not unexplained


def edges(name: str) -> list[tuple[float, bool]]:
    """Values at both sides of each limit, and whether they are allowed."""
    known, whole = SETTINGS[name], name in WHOLE
    up = lambda x: x + 1 if whole else math.nextafter(x, math.inf)  # noqa: E731
    down = lambda x: x - 1 if whole else math.nextafter(x, -math.inf)  # noqa: E731
    found = []
    for limit, inside, allowed in (
        (known.above, up, False),
        (known.at_least, up, True),
        (known.below, down, False),
        (known.at_most, down, True),
    ):
        if limit is not None:
            outside = down if inside is up else up
            found += [(limit, allowed), (inside(limit), True), (outside(limit), False)]
    return [(value if whole else float(value), allowed) for value, allowed in found]


@pytest.mark.parametrize("name", NUMBERS)
def test_validate__keeps_each_number_within_its_range(name):
    assert len(edges(name)) >= 3, f"{name} has no range"
    for value, allowed in edges(name):
        if allowed:
            validate(with_value(name, value))
        else:
            refuses(with_value(name, value), name)


@pytest.mark.parametrize("name", NUMBERS)
def test_validate__takes_no_negative_number(name):
    refuses(with_value(name, float(-1) if name in FLOATS else -1), name)


@pytest.mark.parametrize("name", sorted({*WHOLE} - {"seed", "steps_per_call", "profile"}))
def test_validate__takes_no_count_of_0(name):
    refuses(with_value(name, 0), name)


@pytest.mark.parametrize("name", FLOATS)
def test_validate__takes_only_finite_numbers(name):
    for value in (math.nan, math.inf):
        refuses(with_value(name, value), name)


@pytest.mark.parametrize("name", ["g_optimizer.learning_rate", "d_optimizer.learning_rate"])
def test_validate__takes_no_learning_rate_of_0(name):
    refuses(with_value(name, 0.0), name)


@pytest.mark.parametrize(
    "name",
    [
        *("augment.translate", "g_optimizer.b1", "g_optimizer.b2"),
        *("d_optimizer.b1", "d_optimizer.b2", "g_optimizer.b2_end"),
    ],
)
def test_validate__keeps_decays_and_shares_below_1(name):
    refuses(with_value(name, 1.0), name)
    validate(with_value(name, 0.0))
    validate(with_value(name, 0.9999))


@pytest.mark.parametrize(
    "name",
    [
        *("seed", "r1", "r2", "gradient_penalty", "augment.rotate", "augment.scale"),
        *("average.half_life", "average.second_half_life", "burn_in"),
    ],
)
def test_validate__zero_turns_off(name):
    validate(with_value(name, type(DEFAULTS[name])(0)))


def test_validate__keeps_a_probability_within_0_and_1():
    validate(changed(augment__probability=0.0))
    validate(changed(augment__probability=1.0))
    refuses(changed(augment__probability=1.01), "augment.probability")


@pytest.mark.parametrize("name", CHOICES)
def test_validate__takes_one_of_the_choices(name):
    choices = choices_of(SETTINGS[name])
    assert choices
    for choice in choices:
        validate(with_value(name, choice))
    with pytest.raises(ConfigError, match=rf"^config\.{name}='neither'.*{', '.join(choices)}"):
        validate(with_value(name, "neither"))
    with pytest.raises(ConfigError, match=rf"Did you mean '{choices[-1]}'\?"):
        validate(with_value(name, choices[-1] + "s"))


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("parallel", ("jit", "pmap")),
        ("dtype", ("float32", "bfloat16")),
        ("network.d_norm", ("batch", "layer", "none")),
    ],
)
def test_choices_of__are_those_listed(name, choices):
    assert choices_of(SETTINGS[name]) == choices


def test_choices_of__reads_registries_of_other_rooms():
    from gan.model.losses import LOSSES

    assert choices_of(SETTINGS["loss"]) == tuple(LOSSES)
    assert choices_of(SETTINGS["network.name"]) == network_names()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"above": 0}, "greater than 0"),
        ({"at_least": 1}, "at least 1"),
        ({"at_least": 0, "below": 1}, "at least 0 and less than 1"),
        ({"at_least": 0, "at_most": 1}, "at least 0 and at most 1"),
        ({}, ""),
    ],
)
def test_range_of__says_the_limits(limits, words):
    assert range_of(Setting(float, 0.5, "a number", **limits)) == words


def test_validate__splits_a_batch_evenly_over_the_devices():
    validate(changed(data__batch_size=12), num_devices=4)
    with pytest.raises(ConfigError, match=r"^config\.data\.batch_size=10: .* 4 devices"):
        validate(changed(data__batch_size=10), num_devices=4)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name.endswith("_end")])
def test_validate__takes_an_end_only_with_a_burn_in(name):
    config = with_value(name, 0.5)
    validate(config)
    config.burn_in = 0.0
    with pytest.raises(ConfigError, match=rf"^config\.{name}=0\.5: needs config\.burn_in"):
        validate(config)
    assert name.removesuffix("_end") in SETTINGS


def test_flatten__has_every_setting_at_any_depth():
    def leaves(value, path: str = "") -> dict:
        if not dataclasses.is_dataclass(value):
            return {path: value}
        found = {}
        for field in dataclasses.fields(value):
            name = f"{path}.{field.name}" if path else field.name
            found |= leaves(getattr(value, field.name), name)
        return found

    @dataclasses.dataclass
    class Deep:
        config: Config = dataclasses.field(default_factory=Config)

    assert flatten(Config()) == leaves(Config())
    assert flatten(Deep()) == leaves(Deep())
    assert flatten(Deep())["config.g_optimizer.b1"] == 0.5


def test_settings__of_the_class_are_those_without_an_architecture():
    chosen = {name for name in SETTINGS if name.startswith("network.")}
    assert settings(Config).keys() == SETTINGS.keys() - chosen
    assert "network.name" in chosen


@pytest.mark.parametrize("name", DEFAULTS)
def test_from_json__reads_what_to_json_wrote(name):
    value = other(name)
    config = with_value(name, value)
    assert value != DEFAULTS[name] or name == "network.name"
    assert from_json(to_json(config)) == config
    assert flatten(resolve(config)) == flatten(config)
    assert flatten(resolve(config))[name] == value


def test_from_json__takes_the_default_for_what_is_left_out():
    assert from_json("{}") == Config()
    assert from_json('{"data": {"batch_size": 8}}').data.batch_size == 8
    assert from_json('{"network": {"g_width": 8}}').network == network_settings("dcgan")(g_width=8)


@pytest.mark.parametrize("name", FLOATS)
def test_resolve__makes_a_whole_number_a_float_where_one_belongs(name):
    value = flatten(resolve(with_value(name, 3)))[name]
    assert (type(value), value) == (float, 3.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"steps_": 3}', r"^config\.steps_: no such setting\. Did you mean 'steps'\?"),
        ('{"data": {"batchsize": 3}}', r"^config\.data\.batchsize: .* 'batch_size'\?"),
        ('{"network": {"width": 3}}', r"^config\.network\.width: .* 'g_width'\?|'d_width'\?"),
        ('{"network": {"name": "dcgam"}}', r"^config\.network\.name='dcgam' .*'dcgan'\?"),
        ('{"network": {"name": 3}}', r"^config\.network\.name=3 is not one of"),
        ('{"qqq": 3}', r"^config\.qqq: no such setting\.$"),
        ('{"steps": 1.0}', r"^config\.steps=1\.0: must be of type int"),
        ('{"steps": "3"}', r"^config\.steps='3': must be of type int"),
        ('{"steps": true}', r"^config\.steps=True: must be of type int"),
        ('{"steps": null}', r"^config\.steps=None: must be of type int"),
        ('{"r1": true}', r"^config\.r1=True: must be of type float"),
        ('{"r1": "1"}', r"^config\.r1='1': must be of type float"),
        ('{"r1": null}', r"^config\.r1=None: must be of type float"),
        ('{"r1_end": "1"}', r"^config\.r1_end='1': must be of type float \| None"),
        ('{"r1_end": true}', r"^config\.r1_end=True: must be of type float \| None"),
        ('{"loss": 3}', r"^config\.loss=3: must be of type str"),
        ('{"augment": {"flip": 1}}', r"^config\.augment\.flip=1: must be of type bool"),
        ('{"data": {"path": 3}}', r"^config\.data\.path=3: must be of type str \| None"),
        ('{"data": {"source": null}}', r"^config\.data\.source=None: must be of type str"),
        ('{"data": 3}', r"^config\.data=3: must be an object with the fields of Data"),
        ('{"network": 3}', r"^config\.network=3: must be an object with the fields of Settings"),
        ("[]", r"^config=\[\]: must be an object with the fields of Config"),
        ('{"steps": 3', r"^not JSON: "),
    ],
)
def test_from_json__names_what_does_not_fit(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        from_json(text)


def test_to_json__states_every_setting():
    stated = json.loads(to_json(Config()))
    assert stated == dataclasses.asdict(Config())


def test_errors__have_exit_codes_of_their_own():
    kinds = [
        *(errors.ConfigError, errors.DataError, errors.Diverged),
        *(errors.WorkdirInUse, errors.NotSaved, errors.Preempted),
    ]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(kinds)
    # Not those of Python, of the shell, nor of signals (128 and above).
    assert all(3 <= code < 126 for code in codes)
    assert codes == [64, 65, 70, 73, 74, 75]  # Launch scripts act on them.


def test_nearest__is_named_for_a_misspelt_name_only():
    known = ["batch_size", "image_size", "path"]
    assert nearest("batchsize", known) == " Did you mean 'batch_size'?"
    assert nearest("imagesize", iter(known)) == " Did you mean 'image_size'?"
    assert nearest("zzz", known) == ""
    assert nearest("batch_size", []) == ""
