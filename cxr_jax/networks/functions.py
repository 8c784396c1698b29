"""A function of the user's own, by its name, with its arrays where the mapped steps can use them.

A restored checkpoint may lie on a mesh of devices. JAX's mapped steps have a mesh of their own, and
some operations on closed-over arrays of another one are errors there (seen with JAX 0.10.2: an
index). The arrays that a function holds are therefore brought to one device; no value changes.
"""

import functools
import importlib
import types
from collections.abc import Callable, Iterator, Set
from typing import Any

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel


def load_function(name: str) -> Any:
    """The function that "package.module:function" names.

    Raises:
      InputError: if there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
        packages = {_package(module), _package(getattr(function, "__module__", module))}
        return _settle(function, packages, seen=set())
    except Exception as error:  # importing runs the reader's code, which may raise anything
        raise InputError(
            f'{name!r} is no "package.module:function" that can be imported ({one_line(error)}); '
            "is its folder on PYTHONPATH?"
        ) from error


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _package(module: str) -> str:
    return module.partition(".")[0]


def _settle(value: Any, packages: Set[str], *, seen: set[int]) -> Any:
    """The same value, with the arrays that it holds on one device.

    Functions, objects of these packages, lists and dictionaries are changed in place, so that
    whoever shares them sees the same arrays; other pytrees are built anew. What belongs to a
    library is not entered.
    """
    if id(value) in seen:
        return value
    seen.add(id(value))
    settle = functools.partial(_settle, packages=packages, seen=seen)
    if isinstance(value, types.ModuleType | type):
        return value
    if isinstance(value, functools.partial):
        named = settle(dict(value.keywords))
        bound = tuple(map(settle, value.args))
        value.__setstate__((settle(value.func), bound, named, vars(value)))
    elif isinstance(value, types.MethodType):
        settle(value.__self__)
        settle(value.__func__)
    elif isinstance(value, dict | list):
        for key, one in list(value.items() if isinstance(value, dict) else enumerate(value)):
            value[key] = settle(one)
    elif callable(getattr(value, "__wrapped__", None)):  # of jax.jit, say
        settle(value.__wrapped__)
    elif isinstance(value, types.FunctionType):
        if _package(value.__module__) in packages:
            _settle_function(value, settle)
    elif _package(type(value).__module__) in packages and hasattr(value, "__dict__"):
        settle(vars(value))
        if callable(value):
            settle(type(value).__call__)
    else:
        return parallel.off_mesh(value)
    return value


def _settle_function(function: types.FunctionType, settle: Callable) -> None:
    """What it closes over, and what it and the functions within it name in their module."""
    for cell in function.__closure__ or ():
        cell.cell_contents = settle(cell.cell_contents)
    known = function.__globals__
    for name in _names(function.__code__):
        if name in known:
            known[name] = settle(known[name])


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:  # functions within it
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
