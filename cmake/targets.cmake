# SPDX-License-Identifier: BSD-3-Clause
# The shapes of this project's targets, so that every folder's CMakeLists.txt is its list of sources.

# A folder as a static library: channelsd_folder(core SOURCES err.c buf.c LINKS PkgConfig::LIBUV)
function(channelsd_folder folder)
    cmake_parse_arguments(arg "" "" "SOURCES;LINKS" ${ARGN})
    if(NOT arg_SOURCES) # headers only, so far
        add_library(channelsd_${folder} INTERFACE)
        target_include_directories(channelsd_${folder} INTERFACE ${PROJECT_SOURCE_DIR})
        target_link_libraries(channelsd_${folder} INTERFACE ${arg_LINKS})
        return()
    endif()
    add_library(channelsd_${folder} STATIC ${arg_SOURCES})
    target_include_directories(channelsd_${folder} PUBLIC ${PROJECT_SOURCE_DIR})
    target_link_libraries(channelsd_${folder} PUBLIC ${arg_LINKS} PRIVATE channelsd_warnings)
endfunction()

# The target headers_compile: every header of @ARGN compiled alone, so that none depends on what was included before it.
function(channelsd_check_headers)
    set(sources "")
    foreach(folder IN LISTS ARGN)
        file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/${folder}/*.h)
        foreach(header IN LISTS headers)
            set(source ${CMAKE_BINARY_DIR}/headers_compile/${header}.c)
            file(CONFIGURE OUTPUT ${source} CONTENT "#include \"@header@\"\n\nint headers_compile;\n" @ONLY)
            list(APPEND sources ${source})
        endforeach()
    endforeach()
    add_library(headers_compile OBJECT EXCLUDE_FROM_ALL ${sources})
    target_link_libraries(headers_compile PRIVATE channelsd_server channelsd_warnings)
endfunction()
