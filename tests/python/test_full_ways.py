# SPDX-License-Identifier: BSD-3-Clause
"""Mode full decides for each request: whatever on its way is not Django's own leaves it to Django, and is counted."""

import pytest

from test_full_equal import django, pytestmark, run

__all__ = ["pytestmark"]  # pytest's: the versions that are tested

HOP = {"served in one hop": 1}
LOOP = {"served without a thread": 1}
HAS_POLICY = django.VERSION >= (6, 0)


@pytest.fixture(scope="module")
def ways():
    return run("ways.py")


@pytest.mark.parametrize(
    ("case", "way"),
    [
        ("sync", HOP),
        ("async", LOOP),
        ("built after", HOP),
        ("subclass", {"handler __main__.Subclass": 1}),
        ("static files, other path", HOP),
        ("attribute of the handler", {"attributes set on the handler": 1}),
        ("get_response_async", {"BaseHandler.get_response_async": 1}),
        ("_get_response_async", {"BaseHandler._get_response_async": 1}),
        ("resolve_request", {"BaseHandler.resolve_request": 1}),
        ("process_exception_by_middleware", {"BaseHandler.process_exception_by_middleware": 1}),
        ("create_request", {"ASGIHandler.create_request": 1}),
        ("send_response", {"ASGIHandler.send_response": 1}),
        ("read_body", {"ASGIHandler.read_body": 1}),
        ("request_class", {"ASGIHandler.request_class": 1}),
        ("__acall__", {"MiddlewareMixin.__acall__": 1}),
        ("process_response", HOP),
        ("afterwards", LOOP),
    ],
)
def test_way(ways, case, way):
    assert ways[case] == way


@pytest.mark.skipif(not HAS_POLICY, reason="ContentSecurityPolicyMiddleware came with Django 6.0")
@pytest.mark.parametrize(("case", "way"), [("policy", LOOP), ("own policy", HOP)])
def test_way_of_a_content_security_policy(ways, case, way):
    assert ways[case] == way


def test_stop_iteration_of_a_view_is_an_error_page(ways):
    assert ways["StopIteration"][0] == 500


def test_a_transaction_left_open_ends_with_its_thread(ways):
    assert ways["left open"] == {"same thread": False}


def test_every_case_is_tested(ways):
    assert len(ways) == (21 if HAS_POLICY else 19)
