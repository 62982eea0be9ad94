"""The API as types: operations, parameters, responses, and errors as problem details."""
