# vidsr in a container. CPU:  docker build --target cpu -t vidsr .
#                      CUDA: docker build --target cuda -t vidsr:cuda .
# Then: docker run --rm -v "$PWD:/films" vidsr upscale clip.mp4     (with --gpus all for CUDA)

FROM python:3.13-slim AS build
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir build==1.3.* && python -m build --wheel --outdir /dist

FROM python:3.13-slim AS base
RUN useradd --create-home --uid 1000 vidsr && mkdir /films && chown vidsr /films
COPY --from=build /dist /dist
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
HEALTHCHECK --interval=5m --timeout=2m --retries=1 CMD ["vidsr", "doctor", "--json"]
WORKDIR /films
ENTRYPOINT ["vidsr"]
CMD ["--help"]

FROM base AS cpu
RUN pip install /dist/*.whl && rm -r /dist
USER 1000

FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,video,utility
RUN pip install "$(echo /dist/*.whl)[rtx]" && rm -r /dist
USER 1000
