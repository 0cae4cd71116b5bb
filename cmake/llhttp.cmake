# SPDX-License-Identifier: BSD-3-Clause
# The HTTP/1 parser: the system's llhttp when it is 9 or newer, else the pinned archive (archive.cmake).

set(llhttp_version 9.3.0.0)
set(llhttp_sha256 0d989363e7fb6f270b9d49956e7a3945c26778f8c70a166815264309ac6a8295)

pkg_check_modules(LLHTTP QUIET IMPORTED_TARGET "libllhttp>=9")
if(LLHTTP_FOUND)
    add_library(channelsd_llhttp ALIAS PkgConfig::LLHTTP)
    set(CHANNELSD_LLHTTP_FROM "${LLHTTP_VERSION} of the system")
    return()
endif()
find_package(llhttp 9 QUIET)
foreach(target llhttp::llhttp llhttp::llhttp_shared llhttp::llhttp_static)
    if(llhttp_FOUND AND TARGET ${target})
        add_library(channelsd_llhttp ALIAS ${target})
        set(CHANNELSD_LLHTTP_FROM "${llhttp_VERSION} of the system")
        return()
    endif()
endforeach()

channelsd_archive(llhttp_folder llhttp ${llhttp_version} ${llhttp_sha256})
set(llhttp_source ${llhttp_folder}/lib)
add_library(channelsd_llhttp STATIC ${llhttp_source}/api.c ${llhttp_source}/http.c ${llhttp_source}/llhttp.c)
target_include_directories(channelsd_llhttp SYSTEM PUBLIC ${llhttp_source})
target_compile_options(channelsd_llhttp PRIVATE -w)
set(CHANNELSD_LLHTTP_FROM "${llhttp_version} (static, from its pinned archive)")
