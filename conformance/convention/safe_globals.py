"""The globals that a checkpoint's pickle may name: what torch allows by default, and NumPy's data.

Every name is `module.name` after torch's renaming of Python 2 modules.
"""

_ELEMENTS = ("BFloat16", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_COMPLEX = ("ComplexDouble", "ComplexFloat")
_QUANTISED = ("QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8")

_CONTAINERS = frozenset(
    {
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
    }
)
_DTYPES = frozenset(
    f"torch.{name}"
    for name in (
        *("bfloat16", "bool", "float16", "float32", "float64"),
        *("complex32", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
        *("bits8", "bits16", "bits1x8", "bits2x4", "bits4x2"),
        *("qint8", "qint32", "quint8", "quint2x4", "quint4x2"),
    )
)
_QSCHEMES = frozenset(
    {
        "torch.per_channel_affine",
        "torch.per_channel_affine_float_qparams",
        "torch.per_channel_symmetric",
        "torch.per_tensor_affine",
        "torch.per_tensor_symmetric",
    }
)
_STORAGES = frozenset(
    {
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        *(f"torch.{name}Storage" for name in (*_ELEMENTS, *_COMPLEX, *_QUANTISED, "Bool")),
        *(f"torch.cuda.{name}Storage" for name in (*_ELEMENTS, *_COMPLEX, "Bool")),
    }
)
_TENSORS = frozenset(
    {
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        *(f"torch.{name}Tensor" for name in (*_ELEMENTS, "Bool")),
        *(f"torch.cuda.{name}Tensor" for name in (*_ELEMENTS, "Bool")),
        *(f"torch.sparse.{name}Tensor" for name in _ELEMENTS),
        *(f"torch.cuda.sparse.{name}Tensor" for name in _ELEMENTS),
    }
)
_FUNCTIONS = frozenset(
    {
        "torch.Size",
        "torch.device",
        "torch.serialization._get_layout",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch._utils._rebuild_meta_tensor_no_storage",
        "torch._utils._rebuild_nested_tensor",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_sparse_tensor",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch._utils._rebuild_wrapper_subclass",
    }
)

TORCH_DEFAULT: frozenset[str] = (
    _CONTAINERS | _DTYPES | _QSCHEMES | _STORAGES | _TENSORS | _FUNCTIONS
)
"""What `torch.load(weights_only=True)` of torch 2.6, the oldest supported, allows by default.

Source: `_get_allowed_globals` in `torch/_weights_only_unpickler.py` of the 2.6.0 wheel, and the
storage and tensor classes that it enumerates.
"""

SINCE: dict[str, str] = {
    "torch.float4_e2m1fn_x2": "2.8",
    "torch.float8_e8m0fnu": "2.7",
    **{f"torch.int{bits}": "2.7" for bits in range(1, 8)},
    **{f"torch.uint{bits}": "2.7" for bits in range(1, 8)},
}
"""The globals of newer dtypes, with the first version of torch that allows them.

Source: pytorch #147466 (`float8_e8m0fnu`), #147500 (the integers) and #148791 (`float4_e2m1fn_x2`).
"""

ADDED_SINCE: frozenset[str] = frozenset(SINCE)
"""What torch 2.13 allows beyond `TORCH_DEFAULT`, and torch 2.6 would refuse."""

NUMPY_DATA: frozenset[str] = frozenset(
    {
        "numpy.dtype",
        "numpy.ndarray",
        *(
            f"numpy.{core}.multiarray.{name}"
            for core in ("core", "_core")
            for name in ("_reconstruct", "scalar")
        ),
        *(
            f"numpy.dtypes.{name}DType"
            for name in (
                *("Bool", "Float16", "Float32", "Float64", "LongDouble"),
                *("Complex64", "Complex128", "CLongDouble"),
                *("Int8", "Int16", "Int32", "Int64", "LongLong"),
                *("UInt8", "UInt16", "UInt32", "UInt64", "ULongLong"),
                *("Bytes", "Str", "DateTime64", "TimeDelta64"),
            )
        ),
    }
)
"""What NumPy scalars and arrays of plain numbers need: data only, no objects.

`numpy.dtypes.*` are never named in the pickle; torch asks for the class when a dtype is restored.
Source: pickles written by NumPy 1.x (`numpy.core`) and 2.x (`numpy._core`).
"""
