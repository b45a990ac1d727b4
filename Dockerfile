# signprep with training and inference, for a CPU:
#   docker build -t signprep .
#   docker run --rm -v "$PWD:/data" signprep scan --data-root DATA
# and for NVIDIA's GPUs, with the driver and the container toolkit on the host:
#   docker build -t signprep:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#   docker run --rm --gpus all -v "$PWD:/data" signprep:cuda train NAME.zarr
# No FFmpeg and no CUDA is installed: PyAV's and torch's wheels bring their own. `python -m tests.from_wheel` runs the
# commands below without Docker.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=train,landmarks,onnx,serve,s3,sftp,http
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
RUN python -m venv /opt/signprep
ENV PATH=/opt/signprep/bin:$PATH
# torch takes a layer of its own, which stays when signprep changes. A build such as 2.13.0+cpu goes before 2.13.0.
COPY constraints.txt ./
RUN pip install --extra-index-url "$TORCH_INDEX" -c constraints.txt torch torchvision
COPY . ./
RUN pip wheel --no-deps --wheel-dir /tmp/dist . && \
    pip install -c constraints.txt "$(echo /tmp/dist/signprep-*.whl)[$EXTRAS]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/signprep /opt/signprep
ENV PATH=/opt/signprep/bin:$PATH
# What is written into /data belongs to this user; `docker run --user` gives another.
RUN useradd --create-home --uid 1000 signprep
USER 1000
WORKDIR /data
ENTRYPOINT ["signprep"]
CMD ["--help"]
