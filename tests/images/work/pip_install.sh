# Installs a wheel that is made on the spot, since a test needs no network.
cd "$(mktemp -d)"
python - <<'END'
import zipfile
with zipfile.ZipFile("mine-1-py3-none-any.whl", "w") as z:
    z.writestr("mine.py", "answer = 42")
    z.writestr("mine-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    z.writestr("mine-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    z.writestr("mine-1.dist-info/RECORD", "mine.py,,\n")
END
pip install --quiet --no-index ./mine-1-py3-none-any.whl
cd / && python -c 'import mine; assert mine.__file__.startswith("/home/workroom/.local/")'
pip uninstall --quiet --yes mine
