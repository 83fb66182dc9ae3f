# Two images from one source: `docker build --target operator .` and `docker build --target runtime .`
# Written for every builder, the classic one included; a `# syntax=` line would make the build ask a registry for a parser.
FROM python:3.11-slim-bookworm AS build
RUN python -m pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore uv==0.13.9 \
    && python -m venv --without-pip /opt/memory
ENV VIRTUAL_ENV=/opt/memory PACKAGES=/opt/memory/lib/python3.11/site-packages \
    UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_QUIET=1
WORKDIR /src
COPY pyproject.toml requirements.lock ./

FROM build AS wheel
COPY README.md LICENSE ./
COPY runtime runtime
COPY operator operator
RUN uv build --wheel --build-constraints requirements.lock --out-dir /dist

# Each role gets only its own dependencies, in the versions and with the hashes of the lock file, before the source comes
# in: a change of the source fetches nothing. What packages bring for their own tests is left behind.
FROM build AS build-operator
# The typed half of the Kubernetes client is never imported; compiled it would take 50 MB.
RUN uv pip install --constraints requirements.lock --requirements pyproject.toml --extra operator \
    && find $PACKAGES -type d -name tests -prune -exec rm -r {} + \
    && find $PACKAGES/kubernetes \( -path '*/api/*.pyc' -o -path '*/models/*.pyc' \) -delete
COPY --from=wheel /dist /dist
RUN uv pip install --no-deps /dist/*.whl && rm -r $PACKAGES/memory_runtime /opt/memory/bin/soma

FROM build AS build-runtime
RUN uv pip install --constraints requirements.lock --requirements pyproject.toml --extra runtime \
    && find $PACKAGES -type d -name tests -prune -exec rm -r {} +
COPY --from=wheel /dist /dist
RUN uv pip install --no-deps /dist/*.whl && rm -r $PACKAGES/memory_operator /opt/memory/bin/memory-operator

FROM python:3.11-slim-bookworm AS base
# Libraries ask for the name and the home of a user who has no entry in /etc/passwd, whatever number the cluster gives it.
ENV PATH=/opt/memory/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 USER=memory HOME=/tmp
# Nothing is ever installed in a running container.
RUN python -m pip uninstall --quiet --yes --root-user-action=ignore pip setuptools wheel \
    && rm -r /usr/local/lib/python3.11/ensurepip
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532

FROM base AS operator
COPY --from=build-operator /opt/memory /opt/memory
EXPOSE 8080
ENTRYPOINT ["memory-operator"]
CMD ["run"]

FROM base AS runtime
COPY --from=build-runtime /opt/memory /opt/memory
EXPOSE 9595
CMD ["python", "-m", "memory_runtime"]
