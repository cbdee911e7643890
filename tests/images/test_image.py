"""What is in the image, used as its person: no root, no capabilities, no new privileges."""

from __future__ import annotations

import json

import pytest
from containers import Notebook, docker

pytestmark = pytest.mark.docker

LIMIT = 2_200_000_000


def test_size_and_labels(image: str) -> None:
    found = json.loads(docker("image", "inspect", image))[0]
    labels = found["Config"]["Labels"]
    assert labels["io.workroom.content"]
    if labels["io.workroom.rstudio"]:
        assert not labels["io.workroom.rstudio-note"]
    else:
        assert "To add it" in labels["io.workroom.rstudio-note"]
        assert found["Size"] <= LIMIT
    assert found["Config"]["User"] == "workroom"
    assert found["Config"]["Entrypoint"] == ["tini", "--"]
    assert found["Config"]["Cmd"] == ["workroom-start"]
    assert not [e for e in found["Config"]["Env"] if "proxy" in e.lower()]


def test_its_person_has_no_power(shell: Notebook) -> None:
    assert "uid=59000(workroom) gid=59000(workroom)" in shell.run("id")
    status = shell.run("cat /proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    for folder in ("/opt/workroom", "/opt/workroom/lib/python3.11/site-packages", "/etc", "/usr"):
        assert "read-only" in shell.run(f"test -w {folder} && echo writable || echo read-only")


PROGRAMS = (
    "python pip jupyter pyspark spark-submit R Rscript git gcc g++ gfortran make cmake pkg-config "
    "java ssh sshd rsync tmux curl vim nano less tini ps unzip"
)


@pytest.mark.parametrize("kind", ["-c", "-lc"])
def test_programs_are_there_in_plain_and_log_in_shells(shell: Notebook, kind: str) -> None:
    missing = shell.run(
        f"bash {kind} 'for p in {PROGRAMS}; do command -v $p >/dev/null || echo $p; done'"
    )
    assert missing == ""
    assert shell.run(f"bash {kind} 'command -v python'").strip() == "/opt/workroom/bin/python"


def test_python_stack(shell: Notebook) -> None:
    versions = shell.run(
        "python -W error::DeprecationWarning -c 'import numpy, pandas, pyarrow.dataset, "
        "scipy.stats, scipy.optimize, sklearn.ensemble, matplotlib.pyplot, requests, ipywidgets; "
        "print(numpy.__version__, pandas.__version__)'"
    )
    assert versions.startswith("1.26.")
    assert versions.split()[1].startswith("2.3.")
    shell.run(
        "python -c 'import pandas, numpy, sklearn.linear_model as m; "
        'f = pandas.DataFrame({"x": range(9)}); f.to_parquet("/tmp/x.parquet"); '
        'assert pandas.read_parquet("/tmp/x.parquet").equals(f); '
        "m.LinearRegression().fit(f, f.x)'"
    )


def test_pip_installs_into_the_home(shell: Notebook) -> None:
    shell.run_file("pip_install.sh")


def test_c_and_fortran_with_the_scientific_libraries(shell: Notebook) -> None:
    printed = shell.run_file("compile.sh")
    assert printed.split() == ["11", "-0.1776", "0", "42", "cpp", "cpp"]


def test_r_with_its_bridge_to_python(shell: Notebook) -> None:
    printed = shell.run_file("bridge.R", "Rscript --no-save")
    assert "pandas.core.frame.DataFrame /opt/workroom/bin/python" in printed


def test_r_packages_are_compiled_and_installed_into_the_home(shell: Notebook) -> None:
    shell.run_file("r_package.sh")


@pytest.mark.parametrize(
    ("kernel", "code", "printed"),
    [
        ("python3", "print(6 * 7)", "42"),
        ("ir", "cat(6 * 7)", "42"),
        ("pyspark", "print(spark.range(7).count() * sc.parallelize([6]).sum())", "42"),
    ],
)
def test_notebooks_are_run_by_every_kernel(
    shell: Notebook, kernel: str, code: str, printed: str
) -> None:
    book = {
        "nbformat": 4, "nbformat_minor": 5, "metadata": {},
        "cells": [{
            "cell_type": "code", "id": "a", "metadata": {}, "outputs": [],
            "execution_count": None, "source": code,
        }],
    }  # fmt: skip
    shell.run(f"cat > /tmp/{kernel}.ipynb <<'END'\n{json.dumps(book)}\nEND")
    done = shell.run(
        f"cd /tmp && jupyter nbconvert --log-level ERROR --to notebook --execute --stdout "
        f"--ExecutePreprocessor.kernel_name={kernel} {kernel}.ipynb 2>/dev/null"
    )
    outputs = json.loads(done)["cells"][0]["outputs"]
    assert [o["text"] for o in outputs if o.get("name") == "stdout"] == [[printed + "\n"]] or [
        o["text"] for o in outputs
    ] == [[printed]]


def test_spark_with_hive_parquet_udfs_and_ml(shell: Notebook) -> None:
    printed = shell.run_file("spark_job.py", "env SPARK_DRIVER_MEMORY=900m python")
    facts = dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)
    assert 700 < int(facts["heap"]) <= 900
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert set(facts["listening"].split(",")) <= loopback, printed
    said = [line for line in printed.splitlines() if "incubator" not in line]  # the JVM's own
    assert len(said) == 3, "the log is quiet"


def test_git(shell: Notebook) -> None:
    shell.run(
        'cd "$(mktemp -d)" && git init -q . && echo hi > a && git add a && '
        "git -c user.name=Ada -c user.email=ada@example.com commit -q -m first && "
        "git log --oneline | grep -q first && git clone -q . ../clone-$$"
    )


def test_sshd_takes_a_certificate_for_its_principal_and_nothing_else(shell: Notebook) -> None:
    printed = shell.run_file("sshd.sh")
    assert printed.splitlines() == [
        "in as workroom", "copied", "other principal refused", "plain key refused",
    ]  # fmt: skip


def test_no_host_key_is_baked_in(shell: Notebook) -> None:
    in_image = docker("run", "--rm", shell.image, "find", "/etc/ssh", "/var/lib/workroom")
    assert "workroom_sshd_config" in in_image
    assert "host_" not in in_image


def test_every_tool_uses_the_systems_certificates(shell: Notebook) -> None:
    store = "/etc/ssl/certs/ca-certificates.crt"
    names = (
        "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT",
        "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE", "CONDA_SSL_VERIFY",
    )  # fmt: skip
    for name in names:
        assert shell.run(f"echo ${name}").strip() == store
        assert shell.run(f"bash -lc 'echo ${name}'").strip() == store
    assert shell.run(
        "python -c 'import ssl; print(ssl.create_default_context().cert_store_stats())'"
    )
    added = shell.run(
        "for c in /usr/local/share/ca-certificates/*.crt; do [ -e $c ] && "
        "openssl x509 -noout -fingerprint -sha256 -in $c; done | head -1 | cut -d= -f2"
    ).strip()
    if added:
        java = shell.run("keytool -list -cacerts -storepass changeit 2>/dev/null")
        assert added in java, "Java trusts what was added"
