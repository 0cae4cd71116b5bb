# SPDX-License-Identifier: BSD-3-Clause
# The parser of Redis' protocol and its reply objects: the system's hiredis when it is 1.0 or newer (RESP3), else the pinned
# archive (archive.cmake), of which only these two and what they call are built. Connections and TLS are libuv's and
# OpenSSL's. Included as <hiredis/hiredis.h> in either case.

set(hiredis_version 3.5.0)
set(hiredis_sha256 c227592cc56b7df247abe4755c26723965be68972be2149fa441ac33d82131ba)

pkg_check_modules(HIREDIS QUIET IMPORTED_TARGET "hiredis>=1.0")
if(HIREDIS_FOUND)
    add_library(channelsd_hiredis ALIAS PkgConfig::HIREDIS)
    set(CHANNELSD_HIREDIS_FROM "${HIREDIS_VERSION} of the system")
    # Its flags name the folder of hiredis.h; the folder above is the compiler's own unless it is installed elsewhere.
    foreach(folder IN LISTS HIREDIS_INCLUDE_DIRS)
        if(EXISTS ${folder}/../hiredis/hiredis.h AND NOT folder STREQUAL "/usr/include/hiredis")
            target_include_directories(PkgConfig::HIREDIS INTERFACE ${folder}/..)
        endif()
    endforeach()
    return()
endif()

channelsd_archive(hiredis_folder hiredis ${hiredis_version} ${hiredis_sha256})
set(hiredis_source ${hiredis_folder}/vendor/hiredis)
add_library(channelsd_hiredis STATIC ${hiredis_source}/alloc.c ${hiredis_source}/async.c ${hiredis_source}/hiredis.c
    ${hiredis_source}/net.c ${hiredis_source}/read.c ${hiredis_source}/sds.c ${hiredis_source}/sockcompat.c)
target_include_directories(channelsd_hiredis SYSTEM PUBLIC ${hiredis_folder}/vendor)
target_compile_options(channelsd_hiredis PRIVATE -w)
set(CHANNELSD_HIREDIS_FROM "${hiredis_version} (static, from its pinned archive)")
