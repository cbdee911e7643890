# Compiles and runs C, C++ and Fortran against the scientific libraries.
cd "$(mktemp -d)"
cat > it.c <<'END'
#include <cblas.h>
#include <gsl/gsl_sf_bessel.h>
#include <hdf5.h>
#include <stdio.h>
int main(void) {
    double x[2] = {1, 2}, y[2] = {3, 4};
    hid_t file = H5Fcreate("it.h5", H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    printf("%.0f %.4f %d\n", cblas_ddot(2, x, 1, y, 1), gsl_sf_bessel_J0(5.0), H5Fclose(file));
    return 0;
}
END
gcc -O1 it.c -o it $(pkg-config --cflags --libs hdf5) -lgsl -lopenblas -lm && ./it
printf 'program p\nprint *, 6*7\nend program\n' > p.f90 && gfortran p.f90 -o p && ./p
printf '#include <iostream>\n#include <thread>\nint main(){std::thread t([]{std::cout<<"cpp\\n";});t.join();}\n' > q.cc
g++ -pthread q.cc -o q && ./q
printf 'cmake_minimum_required(VERSION 3.20)\nproject(q CXX)\nadd_executable(q q.cc)\n' > CMakeLists.txt
cmake -S . -B out >/dev/null && make -C out >/dev/null && ./out/q
