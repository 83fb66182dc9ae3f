"""Everything a caller can get wrong: a 4xx problem that names the field, nothing written, never a 500."""

import asyncio
import json
import re

import pytest

JSON = {"Content-Type": "application/json"}
NUMBERS_65 = json.dumps([1] * 65)


def stored(**parts):
    """A body of /store, given as the JSON texts of its parts."""
    parts = {"coord": "[1, 2]", "payload": '{"text": "x"}'} | parts
    return "{" + ", ".join(f'"{name}": {value}' for name, value in parts.items()) + "}"


def nested(depth, inside="1"):
    return '{"a": ' * depth + inside + "}" * depth


# name → body of /store, status, field
STORE = {
    "NaN in the payload": (stored(payload='{"a": NaN}'), 400, None),
    "Infinity in the payload": (stored(payload='{"a": Infinity}'), 400, None),
    "minus Infinity in the coordinate": (stored(coord="[-Infinity]"), 400, None),
    "NaN as importance": (stored(importance="NaN"), 400, None),
    "1e400 in the payload": (stored(payload='{"a": {"b": [1, 1e400]}}'), 422, "payload.a.b.1"),
    "-1e400 in the coordinate": (stored(coord="[1, -1e400]"), 422, "coord.1"),
    "1e400 as importance": (stored(importance="1e400"), 422, "importance"),
    "an integer of 5,000 digits": (stored(payload='{"a": 1' + "0" * 5000 + "}"), 400, None),
    "U+0000 in a text": (stored(payload='{"text": "a\\u0000b"}'), 422, "payload.text"),
    "U+0000 in a key": (stored(payload='{"in": {"a\\u0000b": 1}}'), 422, "payload.in"),
    "U+0000 in the type": (stored(type='"epi\\u0000sodic"'), 422, "type"),
    "U+0000 in the coordinate": (stored(coord='"1,\\u00002"'), 422, "coord"),
    "a lone high surrogate": (stored(payload='{"text": "\\ud83d"}'), 400, None),
    "a lone low surrogate": (stored(payload='{"text": "\\udc1d x"}'), 400, None),
    "a surrogate as a key": (stored(payload='{"\\ud83d": 1}'), 400, None),
    "broken UTF-8": (b'{"coord": [1], "payload": {"text": "\xff\xfe"}}', 400, None),
    "an encoded surrogate": (b'{"coord": [1], "payload": {"text": "\xed\xa0\xbd"}}', 400, None),
    "UTF-16": (stored().encode("utf-16"), 400, None),
    "no JSON": (b"coord=1", 400, None),
    "half a JSON": (stored()[:-5], 400, None),
    "two JSON values": (stored() + stored(), 400, None),
    "an empty body": (b"", 400, None),
    "null": (b"null", 422, None),
    "a list": (b"[]", 422, None),
    "a text": (b'"text"', 422, None),
    "a text with U+0000": (b'"\\u0000"', 422, None),
    "a number": (b"17", 422, None),
    "1e400 alone": (b"1e400", 422, None),
    "33 levels": (stored(payload=nested(32)), 422, "payload" + ".a" * 31),
    "100 levels": (stored(payload=nested(99)), 422, "payload" + ".a" * 31),
    "1,000,000 levels": ("[" * 1_000_000, 400, None),
    "1,000,000 objects in one another": ('{"a":' * 1_000_000, 400, None),
    "no coordinate": ('{"payload": {}}', 422, "coord"),
    "no payload": ('{"coord": [1]}', 422, "payload"),
    "an empty coordinate": (stored(coord="[]"), 422, "coord"),
    "an empty coordinate as text": (stored(coord='""'), 422, "coord"),
    "a coordinate of blanks": (stored(coord='" , "'), 422, "coord"),
    "65 dimensions": (stored(coord=NUMBERS_65), 422, "coord"),
    "65 dimensions as text": (stored(coord=f'"{NUMBERS_65[1:-1]}"'), 422, "coord"),
    "a coordinate that is an object": (stored(coord='{"x": 1}'), 422, "coord"),
    "a coordinate that is null": (stored(coord="null"), 422, "coord"),
    "a coordinate that is a number": (stored(coord="1.5"), 422, "coord"),
    "a coordinate with a boolean": (stored(coord="[true]"), 422, "coord"),
    "a coordinate with null": (stored(coord="[1, null]"), 422, "coord"),
    "a coordinate in a coordinate": (stored(coord="[[1]]"), 422, "coord"),
    "a coordinate that says nan": (stored(coord='"nan,1"'), 422, "coord"),
    "a coordinate that says inf": (stored(coord='["-inf"]'), 422, "coord"),
    "a coordinate that overflows": (stored(coord='"1e999"'), 422, "coord"),
    "an integer beyond floats": (stored(coord="[1" + "0" * 400 + "]"), 422, "coord"),
    "an underscore in a number": (stored(coord='"1_0"'), 422, "coord"),
    "Arabic digits": (stored(coord='"١٢"'), 422, "coord"),
    "hexadecimal": (stored(coord='"0x10"'), 422, "coord"),
    "a coordinate of 100 kB": (stored(coord='"' + "1," * 20_000 + '1"'), 422, "coord"),
    "a payload that is a list": (stored(payload="[1]"), 422, "payload"),
    "a payload that is a text": (stored(payload='"text"'), 422, "payload"),
    "a payload that is null": (stored(payload="null"), 422, "payload"),
    "an unknown type": (stored(type='"procedural"'), 422, "type"),
    "a type in capitals": (stored(type='"Episodic"'), 422, "type"),
    "a type that is null": (stored(type="null"), 422, "type"),
    "a type that is a number": (stored(type="1"), 422, "type"),
    "an unknown field": (stored(colour='"red"'), 422, "colour"),
    "an unknown field named body": (stored(body="1"), 422, "body"),
    "an unknown field with an odd name": (stored(**{"a.b[0] é": "1"}), 422, "a.b[0] é"),
    "a negative importance": (stored(importance="-0.1"), 422, "importance"),
    "an importance that is a text": (stored(importance='"5"'), 422, "importance"),
    "an importance that is a boolean": (stored(importance="true"), 422, "importance"),
    "an importance that is null": (stored(importance="null"), 422, "importance"),
    "an importance beyond the scale": (stored(importance="1e13"), 422, "importance"),
    "a text of 64 KiB and one byte": (stored(payload=json.dumps({"text": "x" * 65_537})), 422, "payload.text"),
    "a text of too many bytes": (stored(payload=json.dumps({"text": "é" * 33_000})), 422, "payload.text"),
    "a key of 64 KiB and one byte": (stored(payload=json.dumps({"in": {"x" * 65_537: 1}})), 422, "payload.in"),
}


@pytest.mark.parametrize(("body", "status", "field"), STORE.values(), ids=STORE)
async def test_a_faulty_store_is_refused(api, client, assert_problem, body, status, field):
    before = await api.counts()
    problem = assert_problem(await client.post("/store", content=body, headers=JSON), status)
    assert problem.get("field") == field, problem
    assert await api.counts() == before


@pytest.mark.parametrize(("body", "status"), [(body, status) for body, status, _ in STORE.values()], ids=STORE)
async def test_a_faulty_item_of_a_bulk_is_refused_even_without_atomic(api, client, assert_problem, body, status):
    before = await api.counts()
    text = body if isinstance(body, bytes) else body.encode()
    content = b'{"atomic": false, "items": [' + text + b"]}"
    answer = await client.post("/store_bulk", content=content, headers=JSON)
    assert 400 <= answer.status_code < 500
    assert_problem(answer, answer.status_code)
    assert await api.counts() == before


REMEMBER = {
    "no text": ("{}", "text"),
    "an empty text": ('{"text": ""}', "text"),
    "a text that is a list": ('{"text": ["a"]}', "text"),
    "U+0000": ('{"text": "\\u0000"}', "text"),
    "metadata that is a list": ('{"text": "a", "metadata": []}', "metadata"),
    "a coordinate": ('{"text": "a", "coord": [1]}', "coord"),
    "1e400 in metadata": ('{"text": "a", "metadata": {"n": 1e400}}', "metadata.n"),
    "an unknown type": ('{"text": "a", "type": "x"}', "type"),
}


@pytest.mark.parametrize(("body", "field"), REMEMBER.values(), ids=REMEMBER)
async def test_a_faulty_remember_is_refused(api, client, assert_problem, body, field):
    before = await api.counts()
    assert_problem(await client.post("/remember", content=body, headers=JSON), 422, field)
    assert await api.counts() == before


BULK = {
    "no items": ("{}", "items"),
    "items that are an object": ('{"items": {}}', "items"),
    "items that are null": ('{"items": null}', "items"),
    "atomic that is a text": ('{"items": [1], "atomic": "no"}', "atomic"),
    "an unknown field": ('{"items": [1], "mode": 1}', "mode"),
}


@pytest.mark.parametrize(("body", "field"), BULK.values(), ids=BULK)
async def test_a_faulty_bulk_is_refused(client, assert_problem, body, field):
    assert_problem(await client.post("/store_bulk", content=body, headers=JSON), 422, field)


def asked(**parts):
    parts = {"query": '"x"'} | parts
    return "{" + ", ".join(f'"{name}": {value}' for name, value in parts.items() if value is not None) + "}"


VECTOR = json.dumps([0.5] * 256)
RECALL = {
    "top_k 0": (asked(top_k="0"), 422, "top_k"),
    "top_k -1": (asked(top_k="-1"), 422, "top_k"),
    "top_k 1001": (asked(top_k="1001"), 422, "top_k"),
    "top_k 1e9": (asked(top_k="1e9"), 422, "top_k"),
    "top_k 1000000000": (asked(top_k="1000000000"), 422, "top_k"),
    "top_k of 4,000 digits": (asked(top_k="9" * 4000), 422, "top_k"),
    "top_k 1.5": (asked(top_k="1.5"), 422, "top_k"),
    "top_k as text": (asked(top_k='"5"'), 422, "top_k"),
    "top_k true": (asked(top_k="true"), 422, "top_k"),
    "top_k null": (asked(top_k="null"), 422, "top_k"),
    "a query that is a number": (asked(query="5"), 422, "query"),
    "an empty query": (asked(query='""'), 422, "query"),
    "a query with U+0000": (asked(query='"a\\u0000"'), 422, "query"),
    "a query with a lone surrogate": (asked(query='"\\ud800"'), 400, None),
    "a query of more than 64 KiB": (asked(query=json.dumps("x" * 65_537)), 422, "query"),
    "neither query nor vector": ("{}", 422, None),
    "both query and vector": (asked(vector=VECTOR), 422, None),
    "a vector of 255": (asked(query=None, vector=json.dumps([1.0] * 255)), 422, "vector"),
    "a vector of 5,000": (asked(query=None, vector=json.dumps([1.0] * 5000)), 422, "vector"),
    "an empty vector": (asked(query=None, vector="[]"), 422, "vector"),
    "a zero vector": (asked(query=None, vector=json.dumps([0.0] * 256)), 422, "vector"),
    "a vector with a text": (asked(query=None, vector='["1"]'), 422, "vector.0"),
    "a vector with 1e400": (asked(query=None, vector="[1, 1e400]"), 422, "vector.1"),
    "a vector with NaN": (asked(query=None, vector="[NaN]"), 400, None),
    "an unknown type": (asked(type='"x"'), 422, "type"),
    "an unknown scoring": (asked(scoring='"best"'), 422, "scoring"),
    "an unknown field": (asked(limit="5"), 422, "limit"),
    "filters that are a list": (asked(filters="[]"), 422, "filters"),
    "filters with U+0000": (asked(filters='{"a": "\\u0000"}'), 422, "filters.a"),
    "filters with 1e400": (asked(filters='{"a": 1e400}'), 422, "filters.a"),
    "filters of 33 levels": (asked(filters=nested(32)), 422, "filters" + ".a" * 31),
    "a token that is none": (asked(token='"x"'), 422, "token"),
    "a token that is not hexadecimal": (asked(token='"t1-xyz"'), 422, "token"),
    "a token that is too large": (asked(token='"t1-ffffffffffffffff"'), 422, "token"),
    "a token of 100 characters": (asked(token=json.dumps("t1-" + "0" * 97)), 422, "token"),
    "a token that is a number": (asked(token="5"), 422, "token"),
    "explain as text": (asked(explain='"yes"'), 422, "explain"),
}


@pytest.mark.parametrize(("body", "status", "field"), RECALL.values(), ids=RECALL)
async def test_a_faulty_recall_is_refused(client, assert_problem, body, status, field):
    problem = assert_problem(await client.post("/recall", content=body, headers=JSON), status)
    assert problem.get("field") == field, problem


GET_RECALL = {
    "no query": ("", "query"),
    "an empty query": ("query=", "query"),
    "U+0000": ("query=a%00b", "query"),
    "U+0000 with classic scoring": ("query=a%00b&scoring=classic", "query"),
    "broken UTF-8": ("query=%FF%FE", "query"),
    "an encoded surrogate": ("query=%ED%A0%BD", "query"),
    "top_k 0": ("query=a&top_k=0", "top_k"),
    "top_k 1e9": ("query=a&top_k=1e9", "top_k"),
    "top_k 1000000000": ("query=a&top_k=1000000000", "top_k"),
    "top_k of many digits": ("query=a&top_k=" + "9" * 5000, "top_k"),
    "top_k in Arabic": ("query=a&top_k=%D9%A1%D9%A2%D9%A3%D9%A4", "top_k"),
    "an unknown type": ("query=a&type=x", "type"),
    "an unknown parameter": ("query=a&limit=5", "limit"),
    "filters that are no JSON": ("query=a&filters=shelf", "filters"),
    "filters that are a list": ("query=a&filters=[1]", "filters"),
    "filters with NaN": ('query=a&filters={"a":NaN}', "filters"),
    "filters with Infinity": ('query=a&filters={"a":[-Infinity]}', "filters"),
    "filters with 1e400": ('query=a&filters={"a":1e400}', "filters"),
    "filters with U+0000": ('query=a&filters={"a":"%5Cu0000"}', "filters"),
    "filters with a lone surrogate": ('query=a&filters={"a":"%5Cud83d"}', "filters"),
    "filters of 33 levels": ("query=a&filters=" + nested(33), "filters"),
    "filters of 2,000 levels": ("query=a&filters=" + nested(2000), "filters"),
    "a token that is none": ("query=a&token=t1-", "token"),
    "explain": ("query=a&explain=perhaps", "explain"),
}


@pytest.mark.parametrize(("query", "field"), GET_RECALL.values(), ids=GET_RECALL)
async def test_a_faulty_query_string_is_refused(client, assert_problem, query, field):
    problem = assert_problem(await client.get(f"/recall?{query}"), 422)
    assert problem.get("field", "").partition(".")[0] == field, problem


COORDINATES = {
    "a word": "abc",
    "blank": "%20",
    "U+0000": "1,%00",
    "broken UTF-8": "%FF",
    "nan": "nan",
    "infinity": "1,-inf",
    "1e400": "1e400",
    "65 dimensions": ",".join("1" * 65),
    "10,000 characters": "1" * 10_000,
    "an empty part": "1,,2",
    "a percent sign": "1%25",
}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("coordinate", COORDINATES.values(), ids=COORDINATES)
async def test_a_faulty_coordinate_in_the_path_is_refused(client, assert_problem, method, coordinate):
    assert_problem(await client.request(method, f"/memories/{coordinate}"), 422, "coord")


@pytest.mark.parametrize(
    "path", ["/memories/", "/memories", "/memories/1/2", "/nothing", "/v2/store", "/memories/1%2F2"]
)
async def test_a_path_that_is_none_is_not_found(client, assert_problem, path):
    assert_problem(await client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/store"),
        ("PUT", "/store"),
        ("DELETE", "/recall"),
        ("GET", "/store_bulk"),
        ("POST", "/memories/1"),
        ("PATCH", "/memories/1"),
        ("POST", "/healthz"),
        ("DELETE", "/stats"),
        ("PROPFIND", "/remember"),
    ],
)
async def test_the_wrong_method_is_refused(client, assert_problem, method, path):
    answer = await client.request(method, path, json={})
    assert_problem(answer, 405)
    assert answer.headers["allow"]


@pytest.mark.parametrize("path", ["/store", "/store_bulk", "/remember", "/recall"])
@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", "é"],
)
async def test_another_content_type_is_refused(api, client, assert_problem, path, content_type):
    before = await api.counts()
    headers = {} if content_type is None else {"Content-Type": content_type.encode("latin-1")}
    answer = await client.post(path, content=stored().encode(), headers=headers)
    assert_problem(answer, 415, "Content-Type")
    assert await api.counts() == before


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", " application/json;"])
async def test_json_is_recognised_by_its_media_type(client, fresh, content_type):
    body = json.dumps({"coord": fresh(), "payload": {}})
    answer = await client.post("/store", content=body, headers={"Content-Type": content_type.strip()})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize(
    "value", ["3", '"x"', '"-1"', '"1.0"', "", '"1", "2"', 'W/"1"', '"' + "9" * 30 + '"', '"1', "\xe9", '"٣"', '"0x1"']
)
async def test_a_faulty_precondition_is_refused(api, client, assert_problem, fresh, header, value):
    before = await api.counts()
    headers = {header: value.encode("utf-8")}
    body = {"coord": fresh(), "payload": {}}
    assert_problem(await client.post("/store", json=body, headers=headers), 422, header)
    assert await api.counts() == before


async def test_both_preconditions_at_once_are_refused(client, assert_problem, fresh):
    headers = {"If-Match": '"1"', "If-None-Match": "*"}
    assert_problem(
        await client.post("/store", json={"coord": fresh(), "payload": {}}, headers=headers), 422, "If-Match"
    )


@pytest.mark.parametrize("token", ["", "x", "t1-", "t1-GG", "t1-" + "f" * 5000, "\xff", "t1--1", "t1-٣"])
async def test_a_faulty_consistency_token_in_the_header_is_refused(client, assert_problem, token):
    headers = {"Consistency-Token": token.encode("utf-8")}
    answer = await client.post("/recall", json={"query": "x"}, headers=headers)
    assert_problem(answer, 422, "token")


class TestBodyLimit:
    """5 MiB, counted as the bytes arrive."""

    @staticmethod
    async def send(api, head, chunks):
        """Send everything as a client that reads only afterwards, and return the answer."""
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(head)
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            async with asyncio.timeout(20):  # head and body may come one after the other
                answer = await reader.readuntil(b"\r\n\r\n")
                return answer + await reader.readexactly(int(re.search(rb"content-length: (\d+)", answer)[1]))
        finally:
            writer.close()

    @pytest.mark.parametrize("path", ["/store", "/store_bulk", "/remember", "/recall"])
    async def test_30_mb_in_chunks_are_refused(self, api, client, path):
        """Regression: chunked bodies passed the size limit."""
        before = await api.counts()
        piece = b"x" * 65_536
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece)] * (30 * 16) + [b"0\r\n\r\n"]
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token-that-may-write\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        ).encode()
        answer = await self.send(api, head, chunks)
        assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]
        assert await api.counts() == before
        assert (await client.get("/healthz")).status_code == 200

    async def test_a_declared_length_above_the_limit_is_refused_before_the_body(self, api):
        head = (
            b"POST /store HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token-that-may-write\r\n"
            b"Content-Type: application/json\r\nContent-Length: 31457280\r\n\r\n"
        )
        answer = await self.send(api, head, [])
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"application/problem+json" in answer
        assert b"5242880" in answer

    async def test_six_megabytes_that_arrive_whole_are_refused(self, client, assert_problem):
        items = [{"coord": [n], "payload": {"text": "x" * 60_000}} for n in range(100)]
        assert_problem(await client.post("/store_bulk", json={"items": items}), 413)

    async def test_chunked_bodies_below_the_limit_are_taken(self, client, fresh):
        body = json.dumps({"coord": fresh(), "payload": {"text": "in pieces"}}).encode()

        async def pieces():
            for at in range(0, len(body), 7):
                yield body[at : at + 7]

        assert (await client.post("/store", content=pieces(), headers=JSON)).status_code == 200

    async def test_a_body_of_4_9_mib_is_stored(self, client, fresh):
        items = [{"coord": fresh(), "payload": {"text": "y" * 60_000}} for _ in range(80)]
        assert (await client.post("/store_bulk", json={"items": items})).json()["stored"] == 80


@pytest.mark.parametrize("length", ["-1", "abc", "9" * 5000, "1,2", "٣"])
async def test_an_impossible_content_length_is_no_defect(api, client, length):
    head = (
        "POST /store HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token-that-may-write\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{}}"
    ).encode()
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head)
    answer = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert b" 4" in answer


async def test_after_all_of_this_no_defect_was_logged(api, client):
    assert (await client.get("/readyz")).status_code == 200
    assert "request failed" not in api.logged
    assert "Traceback" not in api.logged
