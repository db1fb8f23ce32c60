"""What scikit-learn asks of a transformer; the package itself is needed only when it asks."""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Any

import numpy as np

from ._results import columns_of
from ._soap_text import choice

__all__ = ["Transformer"]

#: Where scikit-learn keeps what `set_output` was told; its `clone` takes it along.
_OUTPUT = "_sklearn_output_config"


class Transformer:
    """fit, transform, get_feature_names_out, get_params, set_params of a descriptor.

    A subclass keeps each parameter of its constructor, as given, under its own name, and has `compute`.
    """

    #: Columns that `fit` found.
    species_: tuple[int, ...]

    @classmethod
    def _parameters(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of the constructor, by name."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **parameters: Any):
        """The same descriptor with other parameters, in place."""
        known = self._parameters()
        for name in parameters:
            if name not in known:
                raise ValueError(f"parameter must be among {', '.join(known)}, got {name!r}")
        fresh = type(self)(**{**self.get_params(), **parameters})
        if _OUTPUT in self.__dict__:
            fresh.__dict__[_OUTPUT] = self.__dict__[_OUTPUT]
        self.__dict__.clear()
        self.__dict__.update(fresh.__dict__)
        return self

    def set_output(self, *, transform: str | None = None):
        """`transform` gives an array ("default"), a "pandas" or a "polars" DataFrame; None leaves it as it is."""
        choice("transform", transform, (None, "default", "pandas", "polars"))
        if transform is not None:
            self.__dict__[_OUTPUT] = {"transform": transform}
        return self

    def fit(self, X: Any, y: Any = None):
        """Takes the species of the systems `X` as columns, unless they are a parameter."""
        from valence.atoms import as_systems

        self.species_ = columns_of(as_systems(X), None, getattr(self, "species", None))
        return self

    def transform(self, X: Any) -> Any:
        """`compute(X).values` with the columns that `fit` found, [C, D] or as `set_output` says; species that it did not see
        are an error."""
        values = self.compute(X, species=self._fitted("transform")).values  # type: ignore[attr-defined]
        kind = self._output()
        if kind == "default":
            return values
        package = importlib.import_module(kind)
        names = self.get_feature_names_out().tolist()
        return package.DataFrame(values, columns=names) if kind == "pandas" else package.DataFrame(values, schema=names)

    def _output(self) -> str:
        """Of `set_output`, else of scikit-learn's own configuration where it is in use."""
        own = self.__dict__.get(_OUTPUT)
        if own is not None:
            return own["transform"]
        learn: Any = sys.modules.get("sklearn")
        return "default" if learn is None else learn.get_config()["transform_output"]

    def fit_transform(self, X: Any, y: Any = None, **parameters: Any) -> Any:
        return self.fit(X, y).transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """One text a column of `transform`."""
        return self._names(self._fitted("get_feature_names_out"))  # type: ignore[attr-defined]

    def _fitted(self, name: str) -> tuple[int, ...]:
        """The columns that `fit` found; where they are a parameter nothing needs to be found."""
        if hasattr(self, "species_"):
            return self.species_
        if getattr(self, "species", None) is not None:
            return columns_of(None, None, self.species)  # type: ignore[attr-defined]
        raise ValueError(f"`fit` must be called before `{name}`, got a descriptor without columns")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "species_") or getattr(self, "species", None) is not None

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import (  # pyright: ignore[reportMissingImports]
            InputTags,
            Tags,
            TargetTags,
            TransformerTags,
        )

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
            input_tags=InputTags(two_d_array=False),
            no_validation=True,
        )

    def __repr__(self) -> str:
        defaults = {n: p.default for n, p in inspect.signature(type(self).__init__).parameters.items()}
        given = {n: v for n, v in self.get_params().items() if v is not defaults[n]}
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in given.items())})"
