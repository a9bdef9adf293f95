# The app on a rented GPU; docs/rented-gpu.md says how to reach it.
#   docker build -t lora-workbench .
#   docker run --gpus all --shm-size 2g -p 127.0.0.1:7860:7860 -v workbench:/workspace lora-workbench
# torch brings CUDA along; the machine needs NVIDIA's driver and container toolkit alone.
FROM python:3.12-slim

# What the toolkit lets into the container: computing, and nvidia-smi for readings.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HF_HOME=/workspace/cache/huggingface

# tini collects trainers that outlive the worker which started them.
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/lora-workbench
COPY pyproject.toml tested-with.txt README.md LICENSE ./
COPY workbench ./workbench
RUN pip install -c tested-with.txt ".[tagging]"

# Nothing here needs root, and what the app writes lies in one volume.
RUN useradd --create-home --uid 1000 workbench \
    && mkdir /workspace \
    && chown workbench:workbench /workspace
USER workbench
WORKDIR /workspace
VOLUME /workspace
EXPOSE 7860

# --listen, since a container's own loopback is not the machine's: without a given password (the
# variable WORKBENCH_AUTH, or --auth-file) one is made, and `docker logs` shows it.
ENTRYPOINT ["tini", "--", "workbench"]
CMD ["app", "/workspace", "--listen", "--port", "7860", "--no-browser"]
