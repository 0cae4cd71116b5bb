# SPDX-License-Identifier: BSD-3-Clause
# What the program stands on: libuv, OpenSSL and jansson from the system, llhttp and hiredis from the system where it has
# them (new enough) and else from pinned archives. Gives the targets PkgConfig::LIBUV, PkgConfig::JANSSON, OpenSSL::Crypto,
# OpenSSL::SSL, Threads::Threads, channelsd_llhttp, channelsd_hiredis.

function(channelsd_missing what debian_package)
    message(FATAL_ERROR "${what} was not found. Debian and Ubuntu: apt-get install ${debian_package}\n"
        "Everything that a build needs: docker/packages.txt, section [build], or `make deps`.")
endfunction()

find_package(PkgConfig QUIET)
if(NOT PKG_CONFIG_FOUND)
    channelsd_missing("pkg-config" pkg-config)
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads QUIET)
if(NOT Threads_FOUND)
    channelsd_missing("A C library with threads" libc6-dev)
endif()

pkg_check_modules(LIBUV QUIET IMPORTED_TARGET "libuv>=1.44")
if(NOT LIBUV_FOUND)
    channelsd_missing("libuv 1.44 or newer" libuv1-dev)
endif()

find_package(OpenSSL 3 QUIET)
if(NOT OPENSSL_FOUND)
    channelsd_missing("OpenSSL 3 or newer" libssl-dev)
endif()

pkg_check_modules(JANSSON QUIET IMPORTED_TARGET "jansson>=2.13")
if(NOT JANSSON_FOUND)
    channelsd_missing("jansson 2.13 or newer" libjansson-dev)
endif()

include(archive)
include(llhttp)
include(hiredis)

if(CHANNELSD_TESTS)
    pkg_check_modules(CMOCKA QUIET IMPORTED_TARGET "cmocka>=1.1.5")
    if(NOT CMOCKA_FOUND)
        channelsd_missing("cmocka 1.1.5 or newer (for the unit tests)" libcmocka-dev)
    endif()
endif()
message(STATUS "libuv ${LIBUV_VERSION}, OpenSSL ${OPENSSL_VERSION}, jansson ${JANSSON_VERSION}, "
    "llhttp ${CHANNELSD_LLHTTP_FROM}, hiredis ${CHANNELSD_HIREDIS_FROM}")
