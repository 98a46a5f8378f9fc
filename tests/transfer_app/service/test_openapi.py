"""The description of a service is true: what is answered fits it, and what it shows is answered."""

import json
import re

import pytest

from tests.fuzz.targets import PHOTO
from tests.transfer_app.service.conftest import TOKENS

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def described(server):
    return server.client.get("/openapi.json").json()


@pytest.fixture
def check(described):
    """Returns an answer that fits what its service says of it."""

    def validator(schema):
        return jsonschema.Draft202012Validator(schema | {"components": described["components"]})

    def check(response):
        path = re.sub(r"/models/[^/]+", "/models/{name}", response.request.url.path)
        operation = described["paths"][path][response.request.method.lower()]
        content = operation["responses"][str(response.status_code)]["content"]
        kind = response.headers["content-type"].partition(";")[0]
        if kind == "application/json":
            validator(content[kind]["schema"]).validate(response.json())
        else:
            assert kind in content
        sent = response.request.headers.get("content-type")
        if sent == "application/json" and response.status_code == 200:
            body = operation["requestBody"]["content"][sent]["schema"]
            validator(body).validate(json.loads(response.request.content))
        return response

    return check


def test_it_is_openapi_without_loose_ends(described):
    assert described["openapi"].startswith("3.1")
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    schemas = described["components"]["schemas"]
    assert references <= schemas.keys()
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    identifiers = [
        one["operationId"] for path in described["paths"].values() for one in path.values()
    ]
    assert len({*identifiers}) == len(identifiers) == 5
    for operations in described["paths"].values():
        for operation in operations.values():
            assert "security" not in operation
            assert operation["summary"] and operation["description"]


def test_answers_of_server_fit(server, check):
    texts = {"inputs": [{"text": "Call me"}, {"text": " ", "name": "blank"}]}
    for name in ("urgency", "complaints", "minutes"):
        answered = check(server.client.post(f"/models/{name}/predict", json=texts))
        assert answered.status_code == 200
        assert [*answered.json()["answers"][1]] == ["input", "problem"]
    files = [("files", ("a.jpg", PHOTO.read_bytes())), ("files", ("b.jpg", b""))]
    for name in ("pets", "finder", "teller"):
        answered = check(server.client.post(f"/models/{name}/predict", files=files))
        assert answered.status_code == 200
        assert "problem" in answered.json()["answers"][1]


def test_descriptions_of_models_fit(server, check):
    for path in ("/health", "/models", "/models/urgency", "/models/finder", "/models/urgency/card"):
        assert check(server.client.get(path)).status_code == 200


def test_refusals_fit(server, guarded, check):
    client, path = server.client, "/models/urgency/predict"
    for wanted, response in (
        (400, client.post(path, headers={"Content-Type": "multipart/form-data"})),
        (403, client.post(path, headers={"Origin": "null"})),
        (401, guarded.client.post(path)),
        (404, client.post("/models/x/predict")),
        (404, client.get("/models/x")),
        (404, client.get("/models/pets/card")),
        (413, client.post(path, json={"inputs": 101 * [{"text": "a"}]})),
        (413, client.post(path, content=bytes(11 * 10**6))),
        (415, client.post(path)),
        (422, client.post(path, json={})),
    ):
        assert check(response).status_code == wanted
        assert [*response.json()] == ["detail"]


def test_the_form_of_files_is_described(described):
    content = described["paths"]["/models/{name}/predict"]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "multipart/form-data"}
    texts = content["application/json"]["schema"]["properties"]["inputs"]
    assert (texts["minItems"], texts["maxItems"]) == (1, 100)
    assert texts["items"]["properties"]["text"]["maxLength"] == 300_000


def test_a_service_of_one_model_has_a_shorter_path_and_none_of_texts_takes_none(guarded):
    guarded.client.headers["Authorization"] = f"Bearer {TOKENS[2]}"
    described = guarded.client.get("/openapi.json").json()
    for path, operations in described["paths"].items():
        assert all(("security" in one) == (path != "/health") for one in operations.values())
    content = described["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert content.keys() == {"multipart/form-data"}
    files = {"any": ("a.jpg", PHOTO.read_bytes())}
    paths = ("/predict", "/models/pets/predict")
    one, other = (guarded.client.post(path, files=files).json() for path in paths)
    assert one == other and "answers" in one
    del guarded.client.headers["Authorization"]
