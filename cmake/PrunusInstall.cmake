# cmake --install: the program with its man page and completions; every library below cli/ with its
# headers, for find_package(Prunus). docs/install.md is the user's page.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The program finds the libtorch that it was built with.
set_target_properties(prunus PROPERTIES INSTALL_RPATH "${TORCH_INSTALL_PREFIX}/lib")
install(TARGETS prunus RUNTIME COMPONENT program)

# prunus_install_text(DESTINATION ARGUMENTS...): what `prunus ARGUMENTS` prints, as a file.
function(prunus_install_text destination)
  cmake_path(GET destination FILENAME name)
  cmake_path(GET destination PARENT_PATH folder)
  set(made ${CMAKE_BINARY_DIR}/installed_texts)
  install(CODE "
    file(MAKE_DIRECTORY \"${made}\")
    execute_process(COMMAND \"$<TARGET_FILE:prunus>\" ${ARGN} OUTPUT_FILE \"${made}/${name}\"
                    COMMAND_ERROR_IS_FATAL ANY)
    file(INSTALL \"${made}/${name}\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${folder}\")"
          COMPONENT program)
endfunction()
prunus_install_text(${CMAKE_INSTALL_MANDIR}/man1/prunus.1 man)
prunus_install_text(${CMAKE_INSTALL_DATADIR}/bash-completion/completions/prunus completion bash)
prunus_install_text(${CMAKE_INSTALL_DATADIR}/zsh/site-functions/_prunus completion zsh)
prunus_install_text(${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d/prunus.fish completion fish)

# Prunus::prunus is all of them. cli/ is the program's own.
get_property(libraries GLOBAL PROPERTY PRUNUS_LIBRARIES)
list(REMOVE_ITEM libraries prunus_cli)
add_library(prunus_everything INTERFACE)
add_library(Prunus::prunus ALIAS prunus_everything)
set_target_properties(prunus_everything PROPERTIES EXPORT_NAME prunus)
target_link_libraries(prunus_everything INTERFACE ${libraries})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/Prunus)
install(TARGETS ${libraries} prunus_everything EXPORT PrunusTargets
        ARCHIVE COMPONENT library
        FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(EXPORT PrunusTargets NAMESPACE Prunus:: DESTINATION ${package} COMPONENT library)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/PrunusConfig.cmake.in
                              ${CMAKE_BINARY_DIR}/PrunusConfig.cmake
                              INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/PrunusConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/PrunusConfig.cmake ${CMAKE_BINARY_DIR}/PrunusConfigVersion.cmake
        ${CMAKE_SOURCE_DIR}/cmake/PrunusOpenMP.cmake DESTINATION ${package} COMPONENT library)
