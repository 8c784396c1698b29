"""Checkpoints: what comes back is what was saved, or one clear error.

Files are really damaged on disk here, as a failing disk or a copy that broke off would: one bit is
flipped, a file is cut short, or it is gone.
"""

import gc
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint import v1 as ocp

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel
from cxr_jax.runtime.checkpoint import Checkpoints, load_networks, networks_digest

# When a checkpoint cannot be read, Orbax drops what it was about to read.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def leave_nothing_behind():
    """Orbax's tasks that failed on a damaged file say so when they are collected, or at exit."""
    logging.getLogger("asyncio").disabled = True
    gc.freeze()  # of what was there before there is nothing to collect
    yield
    gc.collect()


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict
    optimizer: optax.OptState


def make_state(value: int, width: int = 40) -> State:
    """Random numbers of a seed: what is the same everywhere takes no room in a file."""
    kernel = np.random.default_rng(value).normal(size=(30, width)).astype(np.float32)
    params = {"dense": {"kernel": jnp.asarray(kernel), "half": jnp.bfloat16(value)}}
    return parallel.replicate(State(jnp.int32(value), params, optax.adam(1e-3).init(params)))


def save(directory: Path, *scores: float) -> None:
    """Saves steps 1, 2, ... with these scores; each state is that of its step."""
    checkpoints = Checkpoints(directory)
    for step, score in enumerate(scores, start=1):
        state = make_state(step)
        checkpoints.save(step, state, state.params, score=score)


def steps_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def assert_same(one, other) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype and a.sharding == b.sharding
        np.testing.assert_array_equal(a, b)


# 1. Intact ones.


def test_a_state_comes_back_as_it_was(tmp_path):
    save(tmp_path, 0.5)
    restored = Checkpoints(tmp_path).newest(make_state(0))
    assert_same(restored, make_state(1))
    assert parallel.is_synced(restored)


def test_a_new_run_starts_from_its_own_state(tmp_path):
    state = make_state(0)
    assert Checkpoints(tmp_path).newest(state) is state
    assert not list(tmp_path.iterdir())


def test_the_newest_state_and_the_best_networks(tmp_path):
    save(tmp_path, 0.5, 0.9, 0.7)
    checkpoints = Checkpoints(tmp_path)
    assert_same(checkpoints.newest(make_state(0)), make_state(3))
    assert_same(checkpoints.best(make_state(0).params), make_state(2).params)


def test_of_equally_good_networks_the_newest(tmp_path):
    save(tmp_path, 0.9, 0.9, 0.9, 0.1)
    assert_same(Checkpoints(tmp_path).best(make_state(0).params), make_state(3).params)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        (np.linspace(0.9, 0.1, 6), {"1", "5", "6"}),  # the best and the newest two
        (np.linspace(0.1, 0.9, 6), {"5", "6"}),
        ([0.5], {"1"}),
    ],
)
def test_old_checkpoints_are_cleared_away(tmp_path, scores, kept):
    save(tmp_path, *scores)
    assert steps_in(tmp_path / "checkpoints") == kept


def test_a_step_may_be_saved_again(tmp_path):
    save(tmp_path, 0.5, 0.6)
    save(tmp_path, 0.5, 0.6, 0.7)
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(3))


def test_a_relative_folder_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Path("run"), 0.5)
    assert_same(Checkpoints(Path("run")).newest(make_state(0)), make_state(1))


def test_a_save_that_was_killed_is_no_checkpoint(tmp_path):
    """Orbax writes beside the others, and renames the folder when all is on disk."""
    save(tmp_path, 0.5, 0.6)
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "2").rename(checkpoints / "2.orbax-checkpoint-tmp-1")
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(1))


def test_no_checkpoint_is_an_error_that_names_the_folder(tmp_path):
    for ask in (lambda: Checkpoints(tmp_path).best({}), lambda: networks_digest(tmp_path)):
        with pytest.raises(InputError, match="holds no checkpoint") as raised:
            ask()
        assert str(tmp_path) in str(raised.value)


def test_the_networks_alone_are_loaded_onto_every_device(tmp_path):
    save(tmp_path, 0.5)
    networks = load_networks(tmp_path, lambda: make_state(0).params)
    assert_same(networks, make_state(1).params)
    assert len(networks["dense"]["kernel"].sharding.device_set) == jax.local_device_count()


def test_a_digest_is_that_of_the_best_networks(tmp_path):
    save(tmp_path / "one", 0.5, 0.9, 0.7)
    save(tmp_path / "again", 0.5, 0.9, 0.8)
    save(tmp_path / "other", 0.5, 0.6, 0.7)
    one, again, other = (networks_digest(tmp_path / n) for n in ("one", "again", "other"))
    assert one == again != other and len(one) == 64


# 2. Those of another config.


@pytest.mark.parametrize("part", ["newest", "best"])
def test_other_shapes_are_an_error_that_names_the_array(tmp_path, part):
    save(tmp_path, 0.5)
    wider = make_state(0, width=50)
    with pytest.raises(InputError, match="does not fit this config") as raised:
        getattr(Checkpoints(tmp_path), part)(wider if part == "newest" else wider.params)
    message = str(raised.value)
    assert str(tmp_path) in message and "\n" not in message
    assert "['dense']['kernel'] is float32(30, 40) there, and would be float32(30, 50)" in message
    assert steps_in(tmp_path) == {"checkpoints"}, "nothing is set aside: it is not damaged"


def test_other_names_and_types_are_an_error_that_names_the_array(tmp_path):
    save(tmp_path, 0.5)
    kernel = jnp.zeros((30, 40))
    for networks, named in (
        ({"conv": {"kernel": kernel}}, "['conv']['kernel'] is nothing there"),
        ({"dense": {"kernel": kernel}}, "['dense']['half'] is bfloat16() there, and would be noth"),
        ({"dense": {"kernel": kernel, "half": jnp.int32(0)}}, "would be int32()"),
    ):
        with pytest.raises(InputError, match="does not fit this config") as raised:
            Checkpoints(tmp_path).best(parallel.replicate(networks))
        assert named in str(raised.value)


# 3. Damaged ones.


def flip(path: Path) -> None:
    """Flips one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Leaves the first half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGE = {"flipped": flip, "cut": cut, "gone": Path.unlink}
damages = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)


def arrays_of(directory: Path, step: int, part: str) -> Path:
    """The file that holds the bytes of the arrays: the largest."""
    files = (directory / "checkpoints" / str(step) / part).rglob("*")
    return max((file for file in files if file.is_file()), key=lambda file: file.stat().st_size)


def test_orbax_alone_would_load_a_file_with_a_flipped_bit(tmp_path):
    """Why the arrays carry a SHA-256: if Orbax has one some day, ours may go."""
    save(tmp_path, 0.5)
    flip(arrays_of(tmp_path, 1, "variables"))
    like = make_state(0).params
    path = tmp_path / "checkpoints" / "1"
    loaded = ocp.load_checkpointables(path, {"variables": like})["variables"]
    kernel = np.asarray(make_state(1).params["dense"]["kernel"])
    assert (np.asarray(loaded["dense"]["kernel"]) != kernel).any()


@damages
def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(tmp_path, caplog, damage):
    save(tmp_path, 0.1, 0.2, 0.3)
    damage(arrays_of(tmp_path, 3, "training"))
    checkpoints = Checkpoints(tmp_path)
    with caplog.at_level(logging.WARNING, "cxr_jax"):
        assert_same(checkpoints.newest(make_state(0)), make_state(2))
    (record,) = [record for record in caplog.records if record.name.startswith("cxr_jax")]
    message = record.getMessage()
    assert f"checkpoint {tmp_path / 'checkpoints' / '3'} is damaged" in message
    assert f"set aside in {tmp_path / 'damaged' / '3'}" in message and "\n" not in message
    reason = "have another SHA-256" if damage is flip else "cannot be read"
    assert f"(its arrays {reason}" in message
    assert steps_in(tmp_path / "damaged") == {"3"}
    assert steps_in(tmp_path / "checkpoints") == {"2"}
    # The run goes on as if it had been killed after step 2.
    state = make_state(3)
    checkpoints.save(3, state, state.params, score=0.3)
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), state)
    assert_same(Checkpoints(tmp_path).best(make_state(0).params), state.params)


def test_several_damaged_checkpoints_are_set_aside(tmp_path):
    save(tmp_path, 0.9, 0.2, 0.3)  # the first is kept as the best
    for step in (2, 3):
        flip(arrays_of(tmp_path, step, "training"))
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(1))
    assert steps_in(tmp_path / "damaged") == {"2", "3"}


def test_where_all_are_damaged_the_run_begins_anew(tmp_path):
    save(tmp_path, 0.1)
    flip(arrays_of(tmp_path, 1, "training"))
    state = make_state(0)
    assert Checkpoints(tmp_path).newest(state) is state
    assert steps_in(tmp_path / "damaged") == {"1"}


def test_a_checkpoint_that_is_damaged_twice_is_set_aside_twice(tmp_path):
    for _ in range(2):
        save(tmp_path, 0.1, 0.2)
        flip(arrays_of(tmp_path, 2, "training"))
        assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(1))
    assert steps_in(tmp_path / "damaged") == {"2"}


@damages
def test_damaged_networks_are_refused(tmp_path, damage):
    """They are not replaced by others without a word: figures were computed with these."""
    save(tmp_path, 0.1, 0.2)
    damage(arrays_of(tmp_path, 2, "variables"))
    with pytest.raises(InputError, match="is damaged") as raised:
        load_networks(tmp_path, lambda: make_state(0).params)
    message = str(raised.value)
    assert str(tmp_path / "checkpoints" / "2") in message and "\n" not in message
    assert "intact copy" in message and f"delete {tmp_path} and run its task again" in message
    assert steps_in(tmp_path) == {"checkpoints"}, "nothing is moved by reading"


def test_damage_to_one_part_leaves_the_other_alone(tmp_path):
    save(tmp_path, 0.1, 0.2)
    flip(arrays_of(tmp_path, 2, "variables"))
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(2))
    save(tmp_path / "other", 0.1, 0.2)
    flip(arrays_of(tmp_path / "other", 2, "training"))
    assert_same(Checkpoints(tmp_path / "other").best(make_state(0).params), make_state(2).params)


def description_of(directory: Path, step: int) -> Path:
    """The file in which Orbax keeps the SHA-256, the score, and the shapes."""
    files = (directory / "checkpoints" / str(step)).rglob("*")
    (found,) = [f for f in files if f.is_file() and b"sha256" in f.read_bytes()]
    return found


def replace_in(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) >= 1 and len(old) == len(new)
    path.write_bytes(content.replace(old, new))


DESCRIPTIONS = {
    **DAMAGE,
    # Single bits that leave it a description of something else.
    "score": lambda path: replace_in(path, b"0.125", b"0.525"),
    "shape": lambda path: replace_in(path, b"(30, 40)", b"(30, 50)"),
    "name": lambda path: replace_in(path, b"kernel", b"kernol"),
    "key": lambda path: replace_in(path, b"custom_metadata", b"custom_metadatq"),
}


@pytest.mark.parametrize("damage", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
@pytest.mark.parametrize("step", [1, 2])
def test_a_damaged_description_is_damage_too(tmp_path, damage, step):
    """Of whichever checkpoint: it might be the best."""
    save(tmp_path, 0.125, 0.125)
    damage(description_of(tmp_path, step))
    for ask in (
        lambda: Checkpoints(tmp_path).best(make_state(0).params),
        lambda: networks_digest(tmp_path),
    ):
        with pytest.raises(InputError, match=rf"checkpoints/{step} is damaged \(its descr"):
            ask()
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(3 - step))
    assert steps_in(tmp_path / "damaged") == {str(step)}
    assert_same(Checkpoints(tmp_path).best(make_state(0).params), make_state(3 - step).params)


def try_to_resume(directory: Path) -> str:
    """What becomes of step 2: "intact" or "set aside"; the state is the right one either way."""
    state = Checkpoints(directory).newest(make_state(0))
    aside = (directory / "damaged" / "2").exists()
    assert_same(state, make_state(1 if aside else 2))
    return "set aside" if aside else "intact"


def try_to_load(directory: Path) -> str:
    """The same of its networks: "intact" or "refused"."""
    try:
        networks = Checkpoints(directory).best(make_state(0).params)
    except InputError as error:
        assert "is damaged" in str(error)
        return "refused"
    assert_same(networks, make_state(2).params)
    return "intact"


@damages
def test_no_damaged_file_whatsoever_is_mistaken_for_what_was_saved(
    tmp_path, damage: Callable[[Path], None]
):
    """Of every file of a checkpoint in turn; some of them nobody reads."""
    save(tmp_path, 0.1, 0.2)
    files = (tmp_path / "checkpoints" / "2").rglob("*")
    original = {path: path.read_bytes() for path in files if path.is_file() and path.stat().st_size}
    seen = set()
    for path, content in original.items():
        damage(path)
        seen.add(try_to_load(tmp_path))
        seen.add(try_to_resume(tmp_path))
        if (tmp_path / "damaged" / "2").exists():
            (tmp_path / "damaged" / "2").rename(tmp_path / "checkpoints" / "2")
        path.write_bytes(content)
    assert len(original) > 10 and seen == {"intact", "refused", "set aside"}
    assert try_to_load(tmp_path) == try_to_resume(tmp_path) == "intact"


@pytest.mark.parametrize(
    "said",
    [
        ValueError("RESOURCE_EXHAUSTED: Failed to write [No space left on device]"),
        OSError(28, "No space left on device"),
    ],
)
def test_a_full_disk_is_told_as_python_tells_it(tmp_path, monkeypatch, said):
    save(tmp_path, 1.0)

    def fill(*arguments, **options):
        raise said

    with monkeypatch.context() as patch:
        patch.setattr(ocp, "save_checkpointables", fill)
        with pytest.raises(OSError, match="No space left on device") as raised:
            save(tmp_path, 1.0, 2.0)
    assert raised.value.errno == 28 and str(tmp_path) in raised.value.filename
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_no_checkpoint(tmp_path, value):
    save(tmp_path, 1.0)
    state = make_state(2)
    state.params["dense"]["half"] = jnp.bfloat16(value)
    with pytest.raises(InputError, match=r"diverged: .*half.* is not finite"):
        Checkpoints(tmp_path).save(2, state, state.params, score=2.0)
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(1))


def test_a_save_without_room_is_not_begun(tmp_path, monkeypatch):
    save(tmp_path, 1.0)
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(make_state(2)))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    with pytest.raises(OSError, match="No space left on device"):
        save(tmp_path, 1.0, 2.0)
    assert steps_in(tmp_path / "checkpoints") == {"1"}
