"""Head volumes: NIfTI, MetaImage, NRRD and DICOM in and out, geometry, intensities, rigid alignment to one grid."""
