#!/bin/sh
# Gives Spark its S3 file system, and compiles what the Hive Metastore of this image needs.
set -eu
here="$(dirname "$0")"
jars=/opt/workroom/lib/python3.11/site-packages/pyspark/jars

# pip takes the index, proxies and certificates from its own settings, as everywhere.
python3 -m venv /tmp/installer
/tmp/installer/bin/pip download -q --no-cache-dir --disable-pip-version-check --no-deps \
    --no-binary :all: --no-build-isolation --require-hashes -r "$here/s3a.txt" -d /tmp/s3a
/opt/workroom/bin/python "$here/s3a.py" /tmp/s3a/*.tar.gz "$jars"

# Spark brings a Scala compiler and the image has no Java one.
mkdir /tmp/classes
java -cp "$jars/*" scala.tools.nsc.Main -release 17 -nowarn -usejavacp \
    -d /tmp/classes "$here/WorkroomMetastore.scala"
install -d /opt/workroom/share/metastore
/opt/workroom/bin/python -c "import shutil, sys; shutil.make_archive(*sys.argv[1:])" \
    /tmp/metastore zip /tmp/classes
install -m 0644 /tmp/metastore.zip /opt/workroom/share/metastore/workroom-metastore.jar
rm -rf /tmp/installer /tmp/s3a /tmp/classes /tmp/metastore.zip /tmp/build /root/.cache
