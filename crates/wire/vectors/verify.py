#!/usr/bin/env python3
"""Checks signature.json beside this file with nothing but Python's standard library.

Shows a client in another language how a Tocsin message is verified: build the signed text from
headers, subject and body, then check Ed25519 (RFC 8032). Plain arithmetic, slow, for checking only.
"""
import base64, hashlib, json, pathlib, sys

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
FIELDS = ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-subject", "ce-datacontenttype",
          "ce-dataschema", "correlationid", "causationid", "tenant"]

def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P

def multiply(point, factor):
    result = (0, 1)
    for bit in bin(factor)[2:]:
        result = add(result, result)
        result = add(result, point) if bit == "1" else result
    return result

def decode(data):
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        raise ValueError("not a point")
    return (x if x & 1 == sign else P - x), y

def verifies(public, text, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(r + public + text).digest(), "little") % ORDER
    base = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    return s < ORDER and multiply(base, s) == add(decode(r), multiply(decode(public), k))

def text_of(case):
    lines = ["tocsin-signature-v1"] + [f"{name}:{case['headers'].get(name, '')}" for name in FIELDS]
    digest = hashlib.sha256(bytes.fromhex(case["body_hex"])).hexdigest()
    return "\n".join(lines + [f"subject:{case['subject']}", f"body-sha256:{digest}", ""])

vectors = json.loads(pathlib.Path(__file__).with_name("signature.json").read_text())
public = base64.b64decode(vectors["public_key"])
for case in vectors["cases"]:
    text = text_of(case)
    version, key, signature = case["signature"].split(";")
    ok = (version, key) == ("v1", "k=" + hashlib.sha256(public).hexdigest()[:16]) and text == case["signed_text"]
    if not (ok and verifies(public, text.encode(), base64.b64decode(signature[2:]))):
        sys.exit(f"{case['name']}: does not verify")
    if verifies(public, text.encode() + b"x", base64.b64decode(signature[2:])):
        sys.exit(f"{case['name']}: verifies a changed text")
print(f"{len(vectors['cases'])} signatures verify")
