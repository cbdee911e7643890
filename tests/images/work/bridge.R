# Converts a data frame to pandas and back.
for (name in c("data.table", "dplyr", "ggplot2", "DBI", "testthat", "reticulate")) {
  suppressMessages(library(name, character.only = TRUE))
}
pd <- import("pandas", convert = FALSE)
there <- pd$DataFrame(list(a = c(1.5, 2.5), b = c("x", "y")))
back <- py_to_r(there)
stopifnot(is.data.frame(back), identical(back$b, c("x", "y")))
cat(class(r_to_py(back))[1], py_config()$python, "\n")
