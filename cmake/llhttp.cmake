# SPDX-License-Identifier: BSD-3-Clause
# The HTTP/1 parser: the system's llhttp when it is 9 or newer, else one pinned source archive, which is checked by its
# SHA-256, unpacked into the build folder and linked statically. The archive is a source distribution on PyPI, because that
# registry (or a mirror of it) is reachable wherever a Django project is installed.
#
# To take a newer one: change the three values below; `pip download --no-deps --no-binary llhttp llhttp==<version>` and
# `sha256sum` give them. THIRD_PARTY.md names the version too.

set(llhttp_version 9.3.0.0)
set(llhttp_archive_name llhttp-${llhttp_version}.tar.gz)
set(llhttp_sha256 0d989363e7fb6f270b9d49956e7a3945c26778f8c70a166815264309ac6a8295)

# Puts the archive at @file. pip itself refuses another hash before it looks into the archive (it runs a source
# distribution's setup.py for the metadata); llhttp_check() below is the check that also covers a file given by hand.
function(llhttp_download file)
    set(requirements ${CMAKE_BINARY_DIR}/llhttp-requirements.txt)
    file(WRITE ${requirements} "llhttp==${llhttp_version} --hash=sha256:${llhttp_sha256}\n")
    get_filename_component(folder ${file} DIRECTORY)
    set(download -m pip --disable-pip-version-check --no-input download --quiet --no-deps --no-binary llhttp
        --dest ${folder} -r ${requirements})

    # Inside `pip install .` the first is the interpreter of the build environment. A Python without pip (Debian's, as long
    # as python3-pip is not installed) can still make a virtual environment that has it.
    find_program(CHANNELSD_BUILD_PYTHON NAMES python3 python HINTS "${Python_ROOT_DIR}/bin" NO_CACHE)
    set(candidates "${Python_EXECUTABLE}" "${Python3_EXECUTABLE}" "${CHANNELSD_BUILD_PYTHON}" /usr/bin/python3)
    list(REMOVE_ITEM candidates "" "CHANNELSD_BUILD_PYTHON-NOTFOUND")
    list(REMOVE_DUPLICATES candidates)
    set(said "no python3 was found")
    foreach(python IN LISTS candidates)
        execute_process(COMMAND ${python} -m pip --version RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
        if(failed)
            execute_process(COMMAND ${python} -m venv ${CMAKE_BINARY_DIR}/pip-venv
                RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
            if(failed)
                continue()
            endif()
            set(python ${CMAKE_BINARY_DIR}/pip-venv/bin/python)
        endif()
        execute_process(COMMAND ${python} ${download}
            RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
        if(EXISTS ${file})
            return()
        endif()
        if(said MATCHES "DO NOT MATCH THE HASHES")
            message(FATAL_ERROR "${llhttp_archive_name} does not have the SHA-256 that cmake/llhttp.cmake pins:\n${said}")
        endif()
    endforeach()
    message(FATAL_ERROR "llhttp is not installed, and ${llhttp_archive_name} could not be downloaded by pip:\n${said}\n"
        "Either install it (Debian 13: apt-get install libllhttp-dev), or fetch the archive elsewhere by\n"
        "  pip download --no-deps --no-binary llhttp llhttp==${llhttp_version}\n"
        "and configure with -DCHANNELSD_LLHTTP_ARCHIVE=/path/to/${llhttp_archive_name}")
endfunction()

function(llhttp_check file)
    file(SHA256 ${file} sha256)
    if(NOT sha256 STREQUAL llhttp_sha256)
        message(FATAL_ERROR "${file} has SHA-256\n  ${sha256}\nbut cmake/llhttp.cmake pins\n  ${llhttp_sha256}")
    endif()
endfunction()

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

if(CHANNELSD_LLHTTP_ARCHIVE)
    set(llhttp_archive ${CHANNELSD_LLHTTP_ARCHIVE})
    if(NOT EXISTS ${llhttp_archive})
        message(FATAL_ERROR "CHANNELSD_LLHTTP_ARCHIVE: there is no ${llhttp_archive}")
    endif()
else()
    set(llhttp_archive ${CMAKE_BINARY_DIR}/third_party/${llhttp_archive_name})
    if(NOT EXISTS ${llhttp_archive})
        message(STATUS "llhttp is not installed: fetching ${llhttp_archive_name}")
        llhttp_download(${llhttp_archive})
    endif()
endif()
llhttp_check(${llhttp_archive})
set(llhttp_source ${CMAKE_BINARY_DIR}/third_party/llhttp-${llhttp_version}/lib)
if(NOT EXISTS ${llhttp_source}/llhttp.c)
    file(ARCHIVE_EXTRACT INPUT ${llhttp_archive} DESTINATION ${CMAKE_BINARY_DIR}/third_party)
endif()

add_library(channelsd_llhttp STATIC ${llhttp_source}/api.c ${llhttp_source}/http.c ${llhttp_source}/llhttp.c)
target_include_directories(channelsd_llhttp SYSTEM PUBLIC ${llhttp_source})
target_compile_options(channelsd_llhttp PRIVATE -w)
set(CHANNELSD_LLHTTP_FROM "${llhttp_version} (static, from its pinned archive)")
