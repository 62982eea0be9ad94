"""The API's description (OpenAPI 3.1), made from the table of operations and the types."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from reconciler import __version__
from reconciler.web.api.operations import Answer, Operation, Parameter
from reconciler.web.api.problems import MEDIA_TYPE, ProblemDetails

_REF = "#/components/schemas/{name}"
_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "The first line of http.token_file. Allowed local users do not need it.",
}
Json = dict[str, Any]


def describe(operations: Iterable[Operation]) -> Json:
    """The document that `/openapi.json` serves."""
    listed = list(operations)
    schemas = _Schemas(listed)
    paths: dict[str, Json] = {}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Reconciler",
            "version": __version__,
            "description": "Keeps Python environments equal to what their pyproject.toml declares.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": {"token": _TOKEN}},
    }


class _Schemas:
    """The schemas of every type that the operations use."""

    def __init__(self, operations: list[Operation]) -> None:
        answered = [answer.type for one in operations for answer in one.answers.values()]
        answers: list[Any] = [kind for kind in answered if kind is not None]
        sent = [kind for one in operations for kind in (one.query, one.body) if kind is not None]
        types = list(dict.fromkeys([*answers, ProblemDetails, *sent]))
        found, components = msgspec.json.schema_components(types, ref_template=_REF)
        self._of = dict(zip(types, found, strict=True))
        self._all = components
        queries = {one.query.__name__ for one in operations if one.query is not None}
        self.components = {name: one for name, one in components.items() if name not in queries}
        forms = {kind.__name__ for kind in sent}
        for name, schema in self.components.items():
            # A response always has all its fields; only a request may leave some out.
            if name not in forms and "properties" in schema:
                schema["required"] = list(schema["properties"])

    def of(self, kind: Any) -> Json:
        """The schema of a type."""
        found: Json = self._of[kind]
        return found

    def properties(self, kind: type[msgspec.Struct]) -> Json:
        """The schemas of its fields."""
        found: Json = self._all[kind.__name__]["properties"]
        return found


def _operation(operation: Operation, schemas: _Schemas) -> Json:
    parameters = [_parameter(one) for one in operation.parameters]
    if operation.query is not None:
        properties = schemas.properties(operation.query)
        parameters += [_query(name, schema) for name, schema in properties.items()]
    described: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            **{str(code): _answer(one, schemas) for code, one in operation.answers.items()},
            **{str(code): _problem(code, schemas) for code in sorted(operation.problems)},
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": schemas.of(operation.body)}}
        described["requestBody"] = {"required": False, "content": content}
    if operation.method == "POST":
        described["security"] = [{}, {"token": []}]
    return described


def _parameter(parameter: Parameter) -> Json:
    schema = msgspec.json.schema(parameter.type)
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": schema.pop("description"),
        "schema": schema,
    }


def _query(name: str, schema: Json) -> Json:
    described = dict(schema)
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": described.pop("description"),
        "schema": described,
    }


def _answer(answer: Answer, schemas: _Schemas) -> Json:
    described: Json = {"description": answer.words}
    if answer.media_type is not None:
        schema = {"type": "string"} if answer.type is None else schemas.of(answer.type)
        described["content"] = {answer.media_type: {"schema": schema}}
    if answer.headers:
        described["headers"] = {name: {"schema": {"type": "string"}} for name in answer.headers}
    return described


def _problem(code: int, schemas: _Schemas) -> Json:
    return {
        "description": HTTPStatus(code).phrase,
        "content": {MEDIA_TYPE: {"schema": schemas.of(ProblemDetails)}},
    }
