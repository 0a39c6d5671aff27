"""What the models of requests and answers have in common."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of all. How a model is read and written is worked out at its first use: the start does not wait for it."""

    model_config = ConfigDict(defer_build=True)


def build_models(base: type[BaseModel] = Model) -> Iterator[None]:
    """Work that out for every model that is known by now, one a step: some milliseconds each."""
    for model in base.__subclasses__():
        if not model.__pydantic_complete__:
            model.model_rebuild()
            yield
        yield from build_models(model)
