"""What the store keeps of two tenants under one id: two calls, wherever they are written, found or corrected."""

from collections.abc import Iterator

import pytest
from msgspec import Raw, structs

from llmtrail.store.arrow import DAY_NS
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.insert import insert_calls, insert_corrections
from llmtrail.store.known import known_calls, missing_rows
from llmtrail.store.lookup import find_request
from llmtrail.store.migrate import migrate
from stored_calls import NOW_NS, a_correction, a_full_call, a_row


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    handle = open_chdb(tmp_path_factory.mktemp("store"))
    migrate(handle)
    yield handle
    handle.close()


def test_two_tenants_calls_of_one_id_are_two_calls_wherever_they_are_stored(store: Handle) -> None:
    call = a_full_call(1)
    later = structs.replace(call, revision=call.revision + 1, output=Raw(b'"of evil"'))
    rows = [a_row(call, tenant="acme"), a_row(later, tenant="evil", first_ingested_at_ns=NOW_NS + DAY_NS)]
    for row in rows:
        insert_calls(store, [row], f"two-1-{row.tenant}")
    known = known_calls(store, [rows[0].call_key])[rows[0].call_key]
    assert {one.tenant: one.call for one in known} == {"acme": call, "evil": later}
    assert missing_rows(store, rows) == 0
    assert missing_rows(store, [a_row(call, tenant="globex")]) == 1
    for id_value in (call.call_id or "", "r-1"):
        for row in rows:
            document = find_request(store, id_value, tenant=row.tenant)
            assert document is not None
            assert [one["revision"] for one in document["calls"]] == [row.call.revision]
        both = find_request(store, id_value)
        assert both is not None
        assert (both["tenants"], len(both["calls"])) == (["acme", "evil"], 2)
        assert "of evil" not in str(find_request(store, id_value, tenant="acme"))
    outputs = "SELECT tenant, output FROM llmtrail.bodies WHERE call_id = {id:UUID} ORDER BY tenant"
    found = [tuple(row) for row in store.query(outputs, {"id": call.call_id})]
    assert [tenant for tenant, _ in found] == ["acme", "evil"]
    assert "of evil" not in str(found[0])


def test_a_correction_is_of_one_tenants_call_alone(store: Handle) -> None:
    rows = [a_row(a_full_call(2), tenant=tenant, cost_nanousd=5) for tenant in ("acme", "evil")]
    insert_calls(store, rows, "of-one-2")
    insert_corrections(store, [a_correction(rows[0])], "of-one-2")
    found = store.query(
        "SELECT tenant, cost_nanousd FROM llmtrail.calls WHERE call_id = {id:UUID} ORDER BY tenant",
        {"id": rows[0].call.call_id},
    )
    assert [tuple(row) for row in found] == [("acme", 77), ("evil", 5)]
    known = {one.tenant: one.corrected for one in known_calls(store, [rows[0].call_key])[rows[0].call_key]}
    assert known["evil"] is None
    assert known["acme"] is not None
