"""Plain classes as numba types, so that a strategy's own source compiles with its state in registers.

numba's `jitclass` keeps each instance on the heap and can't be cached on disk. Here an instance is a struct in the frame
of the loop that runs it: `StructValue` is the struct, `StructRef` a pointer to it, which is what `self` is. Methods are
inlined, so LLVM splits the struct into registers. An attribute holds a scalar, an array, or another such struct.

Only compiling needs this module; a kernel that comes from the on-disk cache needs none of these types.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir as llvm
from numba import njit, types
from numba.core import cgutils, imputils
from numba.core.extending import (
    infer_getattr,
    intrinsic,
    lower_cast,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)
from numba.core.imputils import lower_builtin
from numba.core.types import Type
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate

_numbers = itertools.count()


class StructValue(Type):
    """An instance's data. `fields` are (name, numba type); `methods` dispatchers by name; `constants` class attributes."""

    def __init__(self, name: str, fields: tuple[tuple[str, Type], ...], constants: dict[str, Any]) -> None:
        self.fields = fields
        self.methods: dict[str, Any] = {}
        self.constants = constants
        # numba takes types of one name for the same: a class that a notebook defines anew must not find its old methods
        super().__init__(name=f"{name}#{next(_numbers)}")

    @property
    def layout(self) -> str:
        """What the compiled code depends on: class and field names, scalar types, constants."""
        inner = (f"{n}: {t.layout if isinstance(t, StructValue) else t}" for n, t in self.fields)
        return f"{self.name.partition('#')[0]}({', '.join(inner)}; {sorted(self.constants.items())})"

    def field(self, name: str) -> Type | None:
        return dict(self.fields).get(name)


class StructRef(Type):
    """A pointer to a struct in some frame that outlives it: never stored, never returned from the frame."""

    def __init__(self, value: StructValue) -> None:
        self.value = value
        super().__init__(name=f"Ref({value.name})")


@register_model(StructValue)
class _ValueModel(models.StructModel):
    def __init__(self, manager: Any, fe_type: StructValue) -> None:
        super().__init__(manager, fe_type, list(fe_type.fields))


@register_model(StructRef)
class _RefModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: StructRef) -> None:
        super().__init__(manager, fe_type, manager.lookup(fe_type.value).get_value_type().as_pointer())


@infer_getattr
class _RefAttribute(AttributeTemplate):
    key = StructRef

    def generic_resolve(self, ref: StructRef, name: str) -> Type | None:  # type: ignore[override]
        field = ref.value.field(name)
        if field is not None:
            return StructRef(field) if isinstance(field, StructValue) else field
        if name in ref.value.methods:
            return _bound_method(ref, name)
        if name in ref.value.constants:
            return self.context.resolve_value_type(ref.value.constants[name])
        return None


_lowered_methods: set[str] = set()


def _bound_method(ref: StructRef, name: str) -> Type:
    dispatcher = types.Dispatcher(ref.value.methods[name])
    if name not in _lowered_methods:
        _lowered_methods.add(name)
        lower_builtin((StructRef, name), StructRef, types.VarArg(types.Any))(_method_lowering(name))

    class Method(AbstractTemplate):
        key = (StructRef, name)

        def generic(self, args: tuple[Type, ...], kws: dict[str, Type]) -> Any:
            signature: Any = dispatcher.get_call_type(self.context, (ref, *args), kws)
            return signature.as_method()

    return types.BoundFunction(Method, ref)


def _method_lowering(name: str) -> Callable[..., Any]:
    def lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        dispatcher = types.Dispatcher(sig.args[0].value.methods[name])
        call = context.get_function(dispatcher, sig)
        out = call(builder, args)
        context.add_linking_libs(getattr(call, "libs", ()))
        return imputils.impl_ret_new_ref(context, builder, sig.return_type, out)

    return lowering


def _proxy(context: Any, builder: Any, value_type: StructValue, pointer: Any) -> Any:
    return context.make_helper(builder, value_type, ref=pointer)


@lower_getattr_generic(StructRef)
def _get(context: Any, builder: Any, ref: StructRef, pointer: Any, name: str) -> Any:
    field = ref.value.field(name)
    if field is None:
        constant = ref.value.constants[name]
        return context.get_constant_generic(builder, context.typing_context.resolve_value_type(constant), constant)
    proxy = _proxy(context, builder, ref.value, pointer)
    if isinstance(field, StructValue):
        return proxy._get_ptr_by_name(name)
    return imputils.impl_ret_borrowed(context, builder, field, getattr(proxy, name))


@lower_setattr_generic(StructRef)
def _set(context: Any, builder: Any, sig: Any, args: Any, name: str) -> None:
    ref, given = sig.args
    pointer, new = args
    proxy = _proxy(context, builder, ref.value, pointer)
    field = ref.value.field(name)
    if isinstance(given, StructRef):  # a struct's assignment copies it
        new = builder.load(new)
    context.nrt.incref(builder, field, new)
    old = getattr(proxy, name)
    setattr(proxy, name, new)
    context.nrt.decref(builder, field, old)


@lower_cast(StructValue, StructRef)
def _value_to_ref(context: Any, builder: Any, fromty: Any, toty: Any, value: Any) -> Any:
    pointer = cgutils.alloca_once(builder, value.type)
    builder.store(value, pointer)
    return pointer


def new_in_frame(value_type: StructValue) -> Any:
    """An intrinsic without arguments: a zeroed struct in the calling frame; each call zeroes the same one."""

    @intrinsic
    def new(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = context.get_value_type(value_type)
            pointer = cgutils.alloca_once(builder, kind)
            builder.store(llvm.Constant(kind, None), pointer)
            return pointer

        return StructRef(value_type)(), codegen

    return new


@intrinsic
def taken(typingctx: Any, ref: Any) -> Any:
    """The struct by value, its references moved out of the frame."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(args[0])

    return ref.value(ref), codegen


@intrinsic
def release(typingctx: Any, ref: Any) -> Any:
    """Let go of the arrays that a struct holds."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        context.nrt.decref(builder, ref.value, builder.load(args[0]))
        return context.get_dummy_value()

    return types.void(ref), codegen


def field_type(owner: str, name: str, value: Any) -> Type | None:
    """The numba type of an attribute's value; None if it is an instance of a plain class. Raises TypeError."""
    if isinstance(value, (bool, np.bool_)):
        return types.boolean
    if isinstance(value, (int, np.integer)):
        return types.int64
    if isinstance(value, (float, np.floating)):
        return types.float64
    if isinstance(value, np.ndarray) and value.dtype in (np.float64, np.int64, np.bool_) and value.flags.c_contiguous:
        return types.Array(np_type(value.dtype), value.ndim, "C")
    if hasattr(value, "__dict__") and not isinstance(value, (type, str)) and not callable(value):
        return None
    raise TypeError(
        f"{owner}.{name} is {value!r} ({type(value).__name__}) after setup(): compiled state is numbers, bools, numpy "
        "arrays of float64, int64 or bool, and indicators, each of one type"
    )


def np_type(dtype: np.dtype) -> Type:
    """numba's type of a numpy scalar type."""
    from numba.np.numpy_support import from_dtype

    return from_dtype(dtype)


def constructor(value_type: StructValue) -> Any:
    """What stands for the class itself in compiled code: takes `__init__`'s arguments, returns the struct."""
    new, init = new_in_frame(value_type), value_type.methods["__init__"]

    @njit(forceinline=True)
    def construct(*args):  # type: ignore[no-untyped-def]
        made = new()
        init(made, *args)
        return taken(made)  # type: ignore[call-arg]

    return construct
