# One image for all that is ours: both sides need the same Python and the same packages. Add yours to the pip line.
FROM python:3.12-slim
COPY pyproject.toml hatch_build.py README.md LICENSE /src/
COPY taskflow /src/taskflow
# The panel is in it when it was built before (make lab).
COPY jupyter_ext /src/jupyter_ext
RUN pip install --no-cache-dir "/src[flask,pandas]" jupyterlab
# Yours in place of the example: what web, worker and beat import.
COPY examples/flask_app /app/flask_app
ENV PYTHONPATH=/app
RUN useradd --create-home taskflow
USER taskflow
WORKDIR /home/taskflow
CMD ["taskflow", "worker"]
