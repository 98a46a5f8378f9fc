# A service of models that were exported, see docs/service.md:
#
#   docker build --tag nlp-transfer .
#   docker run --publish 127.0.0.1:8000:8000 --env NLP_TRANSFER_TOKEN \
#     --volume ./outputs:/models:ro --read-only --tmpfs /tmp nlp-transfer /models/email-urgency

FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY constraints.txt requirements-serve.txt /tmp/
# The wheel asks for all that training needs, PyTorch above all; what is exported runs without.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /tmp/constraints.txt --requirement /tmp/requirements-serve.txt \
    && pip install --no-cache-dir --no-deps /wheels/*.whl \
    && rm /tmp/constraints.txt /tmp/requirements-serve.txt
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --start-period=30s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=5)"]
# Other containers and the host reach it, so that it asks for a token.
ENTRYPOINT ["nlp-transfer", "serve", "--host", "0.0.0.0"]
