#!/bin/sh
# Installs Debian's packages: compilers, scientific C libraries, Java, R, sshd, tools.
set -eu
export DEBIAN_FRONTEND=noninteractive

# Files nobody reads in a container are never unpacked. Static libraries go too, but for the
# empty ones the linker still asks for and the C compiler's own.
cat > /etc/dpkg/dpkg.cfg.d/workroom <<'EOF'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/cmake-*/Help/*
path-exclude=/usr/share/R/doc/*
path-include=/usr/share/R/doc/COPYING*
path-exclude=/usr/bin/*lto-dump*
path-exclude=/usr/bin/cpack
path-exclude=/usr/lib/jvm/*/lib/ct.sym
path-exclude=/usr/lib/jvm/*/lib/server/classes_nocoops.jsa
path-exclude=/usr/lib/*/*.a
path-exclude=/usr/lib/*/openblas-pthread/*.a
path-exclude=/usr/lib/*/hdf5/serial/*.a
path-exclude=/usr/lib/python3.11/config-*/*.a
path-exclude=/usr/lib/gcc/*/12/libstdc++.a
path-exclude=/usr/lib/gcc/*/12/lib*san*.a
path-exclude=/usr/lib/gcc/*/12/libgfortran.a
path-include=/usr/lib/gcc/*/12/libgcc*.a
path-include=/usr/lib/*/libc_nonshared.a
path-include=/usr/lib/*/libpthread.a
path-include=/usr/lib/*/libdl.a
path-include=/usr/lib/*/librt.a
path-include=/usr/lib/*/libutil.a
EOF
# The JRE's post-installation fails where this folder is missing.
mkdir -p /usr/share/man/man1

apt() { apt-get -o Acquire::Languages=none -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -qq "$@"; }

apt update
apt install -y --no-install-recommends ca-certificates openssl
sh "$(dirname "$0")/certificates.sh"
apt install -y --no-install-recommends \
    tini procps less curl vim-tiny nano tmux rsync unzip git \
    openssh-server openssh-client \
    gcc g++ gfortran make cmake pkg-config \
    libopenblas-dev libgsl-dev libhdf5-dev \
    default-jre-headless \
    python3 python3-venv python3-dev \
    r-base-core r-cran-irkernel r-cran-reticulate r-cran-data.table r-cran-dplyr r-cran-ggplot2 \
    r-cran-dbi r-cran-testthat

# An sshd that has the same host key in every container would be no proof of anything.
rm -f /etc/ssh/ssh_host_*

groupadd --gid 59000 workroom
useradd --uid 59000 --gid 59000 --create-home --shell /bin/bash workroom

apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /tmp/build /etc/ssl/private/*
