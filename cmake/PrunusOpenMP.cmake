# The OpenMP runtime that libtorch loads: a second one would not know of the first one's threads.
# Also installed, for PrunusConfig.cmake. Needs find_package(Torch) before.
function(prunus_openmp result)
  file(GLOB torch_gomp ${TORCH_INSTALL_PREFIX}/lib/libgomp*.so*)
  list(APPEND torch_gomp gomp)
  list(GET torch_gomp 0 first)
  set(${result} ${first} PARENT_SCOPE)
endfunction()
