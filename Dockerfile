# One image for workers and notebook: both sides need the same Python and the same packages. Add yours to the pip line.
FROM python:3.12-slim
COPY pyproject.toml README.md LICENSE /src/
COPY taskflow /src/taskflow
RUN pip install --no-cache-dir "/src[pandas]" jupyterlab
RUN useradd --create-home taskflow
USER taskflow
WORKDIR /home/taskflow
CMD ["taskflow", "worker"]
