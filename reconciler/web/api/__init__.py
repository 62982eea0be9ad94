"""The API as types: operations, parameters, answers, and errors as problem details."""
