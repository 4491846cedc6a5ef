"""Generated requests of any shape against the running service: every answer conforms to the OpenAPI document."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.app import CONTRACTS
from service.openapi.document import openapi
from tests.support import Service, User

SCHEMA = schemathesis.openapi.from_dict(openapi(CONTRACTS))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]

bounded = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    # All examples of an operation share one user, which is safe because no other test uses that user's tasks.
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("with_token", [True, False], ids=["with a token", "without"])
@SCHEMA.parametrize()
@bounded
def test_answer_to_any_generated_request_conforms_to_the_document(
    case: schemathesis.Case[Any], service: Service, ann: User, with_token: bool
) -> None:
    headers = {"Authorization": f"Bearer {ann.token}"} if with_token else {}

    case.call_and_validate(base_url=service.url, headers=headers, checks=CHECKS)
