# SPDX-License-Identifier: BSD-3-Clause
# Two kinds of installation: `cmake --install` (a package, an image, /usr/local) brings the Python files along, under
# share/channelsd/python, where the binary finds them; `pip install` (scikit-build-core, SKBUILD) puts the binary into the
# environment's bin, and pip itself installs the Python package.

include(GNUInstallDirs)

if(SKBUILD)
    install(TARGETS channelsd RUNTIME DESTINATION "${SKBUILD_SCRIPTS_DIR}")
    return()
endif()

install(TARGETS channelsd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY python/channelsd DESTINATION ${CMAKE_INSTALL_DATADIR}/channelsd/python
    FILES_MATCHING PATTERN "*.py" PATTERN "py.typed" PATTERN "__pycache__" EXCLUDE)
install(FILES README.md CHANGELOG.md LICENSE THIRD_PARTY.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
