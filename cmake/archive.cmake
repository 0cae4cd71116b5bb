# SPDX-License-Identifier: BSD-3-Clause
# What the system does not have: one pinned source archive each, which is checked by its SHA-256, unpacked into the build
# folder and linked statically. The archives are source distributions on PyPI, because that registry (or a mirror of it) is
# reachable wherever a Django project is installed.
#
# To take a newer one: change version and hash in the file that calls channelsd_archive(); `pip download --no-deps
# --no-binary NAME NAME==<version>` and `sha256sum` give them. THIRD_PARTY.md names the version too.

# Puts the archive of @name at @file. pip itself refuses another hash before it looks into the archive (it runs a source
# distribution's setup.py for the metadata); archive_check() below is the check that also covers a file given by hand.
function(archive_download file name version sha256)
    set(requirements ${CMAKE_BINARY_DIR}/${name}-requirements.txt)
    file(WRITE ${requirements} "${name}==${version} --hash=sha256:${sha256}\n")
    get_filename_component(folder ${file} DIRECTORY)
    get_filename_component(archive_name ${file} NAME)
    set(download -m pip --disable-pip-version-check --no-input download --quiet --no-deps --no-binary ${name}
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
            message(FATAL_ERROR "${archive_name} does not have the SHA-256 that cmake/${name}.cmake pins:\n${said}")
        endif()
    endforeach()
    string(TOUPPER ${name} upper_name)
    message(FATAL_ERROR "${name} is not installed, and ${archive_name} could not be downloaded by pip:\n${said}\n"
        "Either install it (Debian 13: apt-get install lib${name}-dev), or fetch the archive elsewhere by\n"
        "  pip download --no-deps --no-binary ${name} ${name}==${version}\n"
        "and configure with -DCHANNELSD_${upper_name}_ARCHIVE=/path/to/${archive_name}")
endfunction()

function(archive_check file name sha256)
    file(SHA256 ${file} found)
    if(NOT found STREQUAL sha256)
        message(FATAL_ERROR "${file} has SHA-256\n  ${found}\nbut cmake/${name}.cmake pins\n  ${sha256}")
    endif()
endfunction()

# Sets @out to the folder into which the archive of @name was unpacked. CHANNELSD_<NAME>_ARCHIVE, an option of the build,
# names a file to use instead of a download.
function(channelsd_archive out name version sha256)
    string(TOUPPER ${name} upper_name)
    set(file "${CHANNELSD_${upper_name}_ARCHIVE}")
    if(file)
        if(NOT EXISTS ${file})
            message(FATAL_ERROR "CHANNELSD_${upper_name}_ARCHIVE: there is no ${file}")
        endif()
    else()
        set(file ${CMAKE_BINARY_DIR}/third_party/${name}-${version}.tar.gz)
        if(NOT EXISTS ${file})
            message(STATUS "${name} is not installed: fetching ${name}-${version}.tar.gz")
            archive_download(${file} ${name} ${version} ${sha256})
        endif()
    endif()
    archive_check(${file} ${name} ${sha256})
    set(folder ${CMAKE_BINARY_DIR}/third_party/${name}-${version})
    if(NOT EXISTS ${folder}/unpacked)
        file(ARCHIVE_EXTRACT INPUT ${file} DESTINATION ${CMAKE_BINARY_DIR}/third_party)
        file(TOUCH ${folder}/unpacked)
    endif()
    set(${out} ${folder} PARENT_SCOPE)
endfunction()
