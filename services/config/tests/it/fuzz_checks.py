"""What schemathesis checks beyond its own: whatever the description allows, no parser refuses.

Rules that a schema cannot say (a parent that exists, an identifier that is free) may refuse such a
request; that it has the wrong shape may not be the reason.
"""

import re

import schemathesis

# To JSON Schema 7.0 is an integer, and formats (a time, a UUID) only advise; who must not repeat a
# secret does not say which of these it was.
BEYOND_SCHEMAS = re.compile(r"invalid type: floating point|what was sent is not repeated|\b(year|date|time|datetime|timestamp|UUID)\b")
PARSERS = {"invalid_json", "invalid_body", "invalid_query", "invalid_id", "invalid_if_match"}


@schemathesis.check
def what_is_described_can_be_read(ctx, response, case) -> None:
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code < 400:
        return
    problem = response.json()
    if BEYOND_SCHEMAS.search(problem.get("detail", "")):
        return
    if problem.get("code") in PARSERS:
        raise AssertionError(f"the description allows it, but: {problem['detail']}")


@schemathesis.check
def refusals_are_problems(ctx, response, case) -> None:
    """Every refusal says what was wrong, under a stable code, and where the log has it."""
    # A refused HEAD has no body.
    if response.status_code < 400 or case.method == "HEAD":
        return
    kind = response.headers.get("content-type", [""])[0]
    assert kind == "application/problem+json", f"a refusal as {kind}"
    problem = response.json()
    missing = {"type", "title", "status", "code", "detail", "request_id"} - problem.keys()
    assert not missing, f"the problem lacks {sorted(missing)}"
    assert problem["status"] == response.status_code, "the problem has another status"
