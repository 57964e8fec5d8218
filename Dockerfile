# docker build -t neuroprint . && docker run --rm neuroprint
# Runs the demo on the CPU. Not tested by CI.
FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends gcc git libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /neuroprint
COPY . .
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN make install PYTHON=python
CMD ["make", "demo"]
