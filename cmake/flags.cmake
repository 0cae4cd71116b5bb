# SPDX-License-Identifier: BSD-3-Clause
# How everything is compiled: C11, position independent, hardened in release, instrumented on request. Warnings belong to
# our own targets only (channelsd_warnings), so that third-party code is built with its own.

include(CheckCCompilerFlag)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
# Not CMAKE_POSITION_INDEPENDENT_CODE, which means -fPIC for the static libraries: they only ever go into executables.
add_compile_options(-fPIE)
add_link_options(-pie)

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug or RelWithDebInfo" FORCE)
endif()
# assert() stays on in release, so no -DNDEBUG here.
set(CMAKE_C_FLAGS_DEBUG "-Og -g3")
set(CMAKE_C_FLAGS_RELEASE "-O2")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")

add_compile_definitions(_GNU_SOURCE)

if(CHANNELSD_SANITIZE)
    add_compile_options(-fsanitize=${CHANNELSD_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${CHANNELSD_SANITIZE})
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    # _FORTIFY_SOURCE needs an optimising build and hides reads and writes from the sanitizers, hence only here. Some
    # compilers define it themselves: it is taken back first.
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong)
    foreach(flag -fstack-clash-protection -fcf-protection)
        string(MAKE_C_IDENTIFIER "HAS${flag}" has)
        check_c_compiler_flag(${flag} ${has})
        if(${has})
            add_compile_options(${flag})
        endif()
    endforeach()
    add_link_options(-Wl,-z,relro,-z,now)
endif()

if(CHANNELSD_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "CHANNELSD_FUZZ needs clang (Debian: apt-get install clang), not ${CMAKE_C_COMPILER_ID}")
    endif()
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_library(channelsd_warnings INTERFACE)
target_compile_options(channelsd_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes
    -Wcast-qual -Wwrite-strings -Wundef -Wvla -Wformat=2 -Wswitch-enum -Wimplicit-fallthrough -Wnull-dereference)
if(CHANNELSD_WERROR)
    target_compile_options(channelsd_warnings INTERFACE -Werror)
endif()
