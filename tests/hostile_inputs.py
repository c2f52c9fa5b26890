"""Inputs that broke somebody's decoder, as others reported them; each fuzzer begins with those of its format.

Facts from public reports, made anew here: the report is named beside each.
"""

import gzip
import zlib

DEEP = 100_000

JSON: dict[str, bytes] = {
    "orjson 458, CVE-2024-27454: opening brackets alone": b"[" * DEEP + b"]" * DEEP,
    "python-cjson 2: arrays and objects in turn": b'[{"":' * (DEEP // 2),
    "JSONTestSuite n_structure_open_array_object": b'[{"":' * 50_000 + b"\n",
    "JSONTestSuite n_structure_100000_opening_arrays": b"[" * 100_000,
    "JSONTestSuite n_object_repeated_null_null": b"{null:null,null:null}",
    "JSONTestSuite i_structure_500_nested_arrays": b"[" * 500 + b"]" * 500,
    "JSONTestSuite i_number_huge_exp": b"[0.4e0066" + b"9" * 60 + b"6969999999006]",
    "JSONTestSuite i_string_incomplete_surrogates_escape_valid": b'["\\uD800\\uD800\\n"]',
    "JSONTestSuite i_string_overlong_sequence_2_bytes": b'["\xc0\xaf"]',
    "JSONTestSuite y_object_duplicated_key": b'{"a":"b","a":"c"}',
    "JSONTestSuite i_structure_UTF-8_BOM_empty_object": b"\xef\xbb\xbf{}",
    "msgspec 714: Latin-1 within a text": b'{"message": "Driver for printer (Color K\xfcche)"}',
    "simplejson 270: an object within an object": b'{"a":' * DEEP,
    "CPython int conversion limit (CVE-2020-10735)": b'{"a":' + b"9" * 100_000 + b"}",
}  # fmt: skip

PROTOBUF: dict[str, bytes] = {
    "CVE-2025-4565: a series of group tags": b"\x0b" * DEEP,
    "protobuf 26437: unknown groups within messages": b"\x0a\x05\x0b\x0b\x0b\x0b\x0b" * 200,
    "a length past the end": b"\x0a\xff\xff\xff\xff\x0f",
    "a varint of eleven bytes": b"\x08" + b"\xff" * 11,
    "field number 0": b"\x00\x00",
}

OTLP_JSON: dict[str, bytes] = {
    "collector 3195: ids in base64, spans under a former name": (
        b'{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":[{"traceId":"cgXI6uihz643E6Zqq7Nl4w==",'
        b'"spanId":"+iPdFTeJDX8=","kind":"SPAN_KIND_INTERNAL","startTimeUnixNano":"1621253293188761633"}]}]}]}'
    ),
    "collector-contrib 33566: ids of 32 and 19 bytes": (
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"' + b"a" * 64 + b'","spanId":"' + b"b" * 38
        + b'","body":{"stringValue":"x"}}]}]}]}'
    ),
    "collector-contrib 34782: ids that are no hex": (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz","spanId":"","name":"a"}]}]}]}'
    ),
    "collector-contrib 35739: JSON that is no OTLP": b'{"this":{"is": {"not": "otlp"}}}',
    "collector 6420: attributes without a value": (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"a"},{"value":null},{}]}]}]}]}'
    ),
    "values in values": (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"key":"a","value":'
        + b'{"arrayValue":{"values":[' * 400 + b"]}}" * 400 + b"}]}]}]}]}"
    ),
}  # fmt: skip

PAGES: dict[str, bytes] = {
    "prometheus 3793: a label without a name": b'# HELP o foo\n# TYPE o gauge\no{="foo"} 0\n',
    "prometheus 5935: one byte": b"#",
    "prometheus 18225: a name without quotes in braces": b"{A}0\n",
    "prometheus 8515: a value that ends with an escape": b'my_metric{a="\\u70ac"} 1 2 3\n',
    "gitlab-tokens-exporter 221: a quote within a value": b'days_remaining{name="MacBook Pro 14" R/W",id="218"} -794\n',
    "DNS-collector 509: a value that is no UTF-8": b'q{name="dr._dns-sd._udp. \xbf\x9f\x01"} 1\n',
    "client_golang 1303: NaN": b'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1"} NaN\n',
    "OpenMetrics: an exemplar, a timestamp, the end": b'a_bucket{le="1"} 1 1.5 # {trace_id="x"} 0.67 1\n# EOF\n',
    "an escape at the end of the page": b'a{b="\\',
    "numbers that are none": b'DCGM_FI_DEV_GPU_TEMP{gpu="0"} 0x1p-2\nDCGM_FI_DEV_GPU_TEMP{gpu="1"} 1_0\n',
}

TOML: dict[str, str] = {
    "CPython 108851: arrays in arrays": "a = " + "[" * 5_000,
    "tomlkit 459: inline tables": "a = " + "{a=" * 5_000,
    "tomlkit 510: a key of ten thousand parts": "a." * 3_000 + "a = 1",
    "pest 697: tables within arrays": "[1]\nO=" + "[" * 300 + "{x=1,O=[",
    "toml-rs 428": "x=" + "[" * 20_000,
    "CVE-2020-10735: a number of many digits": "a = " + "9" * 50_000,
    "a date that is none": "a = 2026-02-30",
    "NUL": "a = '\x00'",
    "a time with too many digits": "a = 2026-01-01T00:00:00." + "9" * 5_000 + "Z",
}

URLS: dict[str, str] = {
    "pythondotorg 938": "http://google.com]",
    "linkchecker 204": "http://[IP-Adresse",
    "CPython 36742: NFKC": "http://\u30d5\u309a\ufe1380",
    "CPython 36742: a sign that becomes #": "http://example.com\uff03@bing.com",
    "CPython 36338: a bracket within a name": "http://good.com[malicious.com]/",
    "CPython 64470: an address without brackets": "http://::1/",
    "a port out of range": "http://a:99999",
    "a port that is none": "http://a:b",
    "CVE-2019-9740: a line feed": "http://a\r\nHost: b/",
    "CVE-2023-24329: a blank before": " http://a",
    "a zone": "http://[fe80::1%25eth0]:80/",
    "a user": "http://u:p@h@a:1/",
}

GZIP: dict[str, bytes] = {
    "aiohttp 13362: 20,000 empty members": gzip.compress(b"", mtime=0) * 20_000,
    "aiohttp 13362: 1,024 members of 4 kB": gzip.compress(b"\0" * 4_096, mtime=0) * 1_024,
    "aiohttp 7157: members one after another": gzip.compress(b'{"a":1}\n', mtime=0) * 3,
    "a bomb": gzip.compress(b"\0" * 64_000_000, 9, mtime=0),
    "a bomb in a bomb": gzip.compress(gzip.compress(b"\0" * 32_000_000, 9, mtime=0), 9, mtime=0),
    "cut": gzip.compress(b'{"a":1}\n' * 100, mtime=0)[:-9],
    "bytes behind the end": gzip.compress(b'{"a":1}\n', mtime=0) + b"behind",
    "a wrong checksum": gzip.compress(b'{"a":1}\n', mtime=0)[:-8] + b"\0" * 8,
    "zlib's framing": zlib.compress(b'{"a":1}\n'),
}
