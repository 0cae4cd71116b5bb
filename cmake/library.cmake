# SPDX-License-Identifier: BSD-3-Clause
# libchannellayer (-DCHANNELSD_LIBRARY=ON): channel_layer/ and core/ as a shared library for other C programs, installed with
# its one public header, a pkg-config file and a CMake package. Compiled apart from the program: position independent, and
# with nothing visible but channellayer_*.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_target_property(layer_sources channelsd_channel_layer SOURCES)
get_target_property(core_sources channelsd_core SOURCES)
list(TRANSFORM layer_sources PREPEND ${PROJECT_SOURCE_DIR}/channel_layer/)
list(TRANSFORM core_sources PREPEND ${PROJECT_SOURCE_DIR}/core/)

add_library(channellayer SHARED ${layer_sources} ${core_sources})
set_target_properties(channellayer PROPERTIES
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}
    C_VISIBILITY_PRESET hidden
    POSITION_INDEPENDENT_CODE ON
    PUBLIC_HEADER ${PROJECT_SOURCE_DIR}/channel_layer/channellayer.h)
# -fPIE of the program (flags.cmake) comes first; the last one counts.
target_compile_options(channellayer PRIVATE -fPIC)
target_include_directories(channellayer
    PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/channel_layer>
    PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(channellayer PRIVATE
    $<BUILD_INTERFACE:channelsd_hiredis> $<BUILD_INTERFACE:PkgConfig::JANSSON> $<BUILD_INTERFACE:PkgConfig::LIBUV>
    OpenSSL::SSL OpenSSL::Crypto Threads::Threads $<BUILD_INTERFACE:channelsd_warnings>)
target_link_options(channellayer PRIVATE -no-pie -Wl,--exclude-libs,ALL -Wl,--no-undefined)
if(TARGET channelsd_hiredis AND NOT HIREDIS_FOUND)
    set_target_properties(channelsd_hiredis PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_compile_options(channelsd_hiredis PRIVATE -fPIC)
endif()

install(TARGETS channellayer EXPORT channellayer
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
    PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)

# Whoever links it compiles against uv.h, and needs no other library by name.
configure_file(${CMAKE_CURRENT_LIST_DIR}/channellayer.pc.in ${PROJECT_BINARY_DIR}/channellayer.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/channellayer.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/channellayer-config.cmake.in
    ${PROJECT_BINARY_DIR}/channellayer-config.cmake
    INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/channellayer)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/channellayer-config-version.cmake COMPATIBILITY SameMajorVersion)
install(EXPORT channellayer NAMESPACE channellayer:: FILE channellayer-targets.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/channellayer COMPONENT library)
install(FILES ${PROJECT_BINARY_DIR}/channellayer-config.cmake ${PROJECT_BINARY_DIR}/channellayer-config-version.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/channellayer COMPONENT library)
