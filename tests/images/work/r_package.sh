# Builds and installs an R package with C code of its own.
cd "$(mktemp -d)" && mkdir -p mine/R mine/src
printf 'Package: mine\nVersion: 1.0\nTitle: Mine\nDescription: Mine.\nLicense: none\n' > mine/DESCRIPTION
printf 'useDynLib(mine)\nexport(twice)\n' > mine/NAMESPACE
printf 'twice <- function(x) .Call("c_twice", x)\n' > mine/R/twice.R
printf '#include <Rinternals.h>\nSEXP c_twice(SEXP x) { return Rf_ScalarReal(2 * Rf_asReal(x)); }\n' > mine/src/t.c
Rscript -e 'install.packages("mine", repos = NULL, type = "source", quiet = TRUE)'
Rscript -e 'stopifnot(mine::twice(21) == 42, startsWith(find.package("mine"), "/home/workroom/")); remove.packages("mine")'
