# The library alone: what its programs share takes as long again to build, and nothing here uses it.
set(LLAMA_BUILD_COMMON OFF)
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include ${CMAKE_CURRENT_LIST_DIR}/amx.h>")
